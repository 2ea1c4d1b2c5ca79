//! Expressions, by precedence.

use std::rc::Rc;

use super::{
    ast::{Argument, Binary, COMPARISON, Expr, ExprKind, NOT, Unary},
    tokens::Parser,
};
use crate::{
    error::{Position, Refused, quote},
    lexer::TokenKind,
};

impl Parser<'_, '_> {
    pub(super) fn expression(&mut self) -> Result<Expr, Refused> {
        let expression = self.nest(|parser| parser.operators(0))?;
        let advice = match *self.peek() {
            TokenKind::Keyword("if") => {
                "'.. if .. else ..' is not part of PxL: px.select(condition, yes, no) chooses a value"
            }
            TokenKind::Keyword("for") => "'for' is not part of PxL",
            TokenKind::Keyword("in" | "not") => {
                "'in' is not part of PxL: use px.contains(text, part) or px.equals_any(column, list)"
            }
            TokenKind::Keyword("is") => "'is' is not part of PxL: use '=='",
            TokenKind::Symbol("//") => "'//' is not part of PxL: use px.floor(a / b)",
            TokenKind::Symbol("**") => "'**' is not part of PxL: use px.pow(a, b)",
            TokenKind::Symbol("&") => "'&' is not part of PxL: use 'and'",
            TokenKind::Symbol("|") => "'|' is not part of PxL: use 'or'",
            TokenKind::Symbol(symbol @ ("^" | "<<" | ">>" | ":=")) => {
                return Err(self.refuse_here(format!("'{symbol}' is not part of PxL")));
            }
            _ => return Ok(expression),
        };
        Err(self.refuse_here(advice))
    }

    /// An operand and the operators that bind at least as much as this.
    fn operators(&mut self, least: u8) -> Result<Expr, Refused> {
        let mut left = self.operand(least)?;
        let mut compared = false;
        while let Some(operator) = self.binary_operator() {
            let precedence = operator.precedence();
            if precedence < least {
                break;
            }
            let at = self.position();
            if precedence == COMPARISON && std::mem::replace(&mut compared, true) {
                return Err(self.refuse_here("comparisons are not chained in PxL: write 'a < b and b < c'"));
            }
            self.advance();
            let right = self.nest(|parser| parser.operators(precedence + 1))?;
            let (position, inner) = (left.position, left.depth.max(right.depth));
            left =
                self.node(position, inner, ExprKind::Binary { operator, at, left: left.into(), right: right.into() })?;
        }
        Ok(left)
    }

    fn binary_operator(&self) -> Option<Binary> {
        Some(match *self.peek() {
            TokenKind::Keyword("or") => Binary::Or,
            TokenKind::Keyword("and") => Binary::And,
            TokenKind::Symbol("==") => Binary::Equal,
            TokenKind::Symbol("!=") => Binary::NotEqual,
            TokenKind::Symbol("<") => Binary::Less,
            TokenKind::Symbol("<=") => Binary::LessEqual,
            TokenKind::Symbol(">") => Binary::Greater,
            TokenKind::Symbol(">=") => Binary::GreaterEqual,
            TokenKind::Symbol("+") => Binary::Add,
            TokenKind::Symbol("-") => Binary::Subtract,
            TokenKind::Symbol("*") => Binary::Multiply,
            TokenKind::Symbol("/") => Binary::Divide,
            TokenKind::Symbol("%") => Binary::Modulo,
            _ => return None,
        })
    }

    fn operand(&mut self, least: u8) -> Result<Expr, Refused> {
        let position = self.position();
        let (operator, binds) = match *self.peek() {
            TokenKind::Keyword("not") if least <= NOT => (Unary::Not, NOT),
            TokenKind::Symbol("-") => (Unary::Minus, 7),
            TokenKind::Symbol("+") => (Unary::Plus, 7),
            TokenKind::Symbol("~") => return Err(self.refuse_here("'~' is not part of PxL: use 'not'")),
            _ => return self.primary(),
        };
        self.advance();
        let operand = self.nest(|parser| parser.operators(binds))?;
        self.node(position, operand.depth, ExprKind::Unary { operator, operand: operand.into() })
    }

    /// Something, its attributes, subscripts and calls.
    fn primary(&mut self) -> Result<Expr, Refused> {
        let mut primary = self.atom()?;
        loop {
            let (position, depth) = (primary.position, primary.depth);
            if self.accept(".") {
                let (name, at) = self.expect_name("the name of a column, method or function")?;
                let kind = ExprKind::Attribute { of: primary.into(), name: name.into(), at };
                primary = self.node(position, depth, kind)?;
            } else if self.accept("(") {
                let arguments = self.arguments()?;
                let inner = arguments.iter().map(|argument| argument.value.depth).fold(depth, u16::max);
                primary = self.node(position, inner, ExprKind::Call { function: primary.into(), arguments })?;
            } else if self.accept("[") {
                let index = self.expression()?;
                if self.at_symbol(":") {
                    return Err(self.refuse_here(
                        "slices are not part of PxL: use df.head(n) or px.substring(text, from, length)",
                    ));
                }
                self.expect("]")?;
                let inner = depth.max(index.depth);
                primary =
                    self.node(position, inner, ExprKind::Subscript { of: primary.into(), index: index.into() })?;
            } else {
                return Ok(primary);
            }
        }
    }

    /// Arguments up to the closing bracket.
    fn arguments(&mut self) -> Result<Vec<Argument>, Refused> {
        let mut arguments: Vec<Argument> = Vec::new();
        while !self.accept(")") {
            let position = self.position();
            if self.at_symbol("*") || self.at_symbol("**") {
                return Err(self.refuse_here("'*' before an argument is not part of PxL"));
            }
            let name = self.argument_name();
            if let Some(name) = &name
                && arguments.iter().any(|argument| argument.name.as_ref() == Some(name))
            {
                return Err(self.errors.refuse(position, format!("the argument {} is given twice", quote(name))));
            }
            if name.is_none() && arguments.iter().any(|argument| argument.name.is_some()) {
                return Err(self
                    .errors
                    .refuse(position, "an argument without a name stands behind one that has a name"));
            }
            let value = self.expression()?;
            arguments.push(Argument { name, position, value });
            // Pixie's parser does without the comma before a named argument, and its own scripts rely on that.
            let names_another =
                matches!(self.peek(), TokenKind::Name(_)) && *self.peek_second() == TokenKind::Symbol("=");
            if !self.accept(",") && !self.at_symbol(")") && !names_another {
                return Err(self.unexpected("',' or ')'"));
            }
        }
        Ok(arguments)
    }

    /// `NAME =`
    fn argument_name(&mut self) -> Option<Rc<str>> {
        let TokenKind::Name(name) = *self.peek() else { return None };
        if *self.peek_second() != TokenKind::Symbol("=") {
            return None;
        }
        self.advance();
        self.advance();
        Some(name.into())
    }

    fn atom(&mut self) -> Result<Expr, Refused> {
        let position = self.position();
        let kind = match self.peek() {
            TokenKind::Name(name) => ExprKind::Name((*name).into()),
            TokenKind::Integer(number) => ExprKind::Integer(*number),
            TokenKind::Float(number) => ExprKind::Float(*number),
            TokenKind::Text(_) => return self.text(position),
            TokenKind::Keyword("True") => ExprKind::Truth(true),
            TokenKind::Keyword("False") => ExprKind::Truth(false),
            TokenKind::Keyword("None") => ExprKind::None,
            TokenKind::Keyword("lambda") => {
                return Err(self.refuse_here("'lambda' is not part of PxL: define a function"));
            }
            TokenKind::Symbol("(") => return self.brackets(position),
            TokenKind::Symbol("[") => {
                self.advance();
                let (items, inner, _) = self.items("]")?;
                return self.node(position, inner, ExprKind::List(items));
            }
            TokenKind::Symbol("{") => {
                self.advance();
                return self.dict(position);
            }
            _ => return Err(self.unexpected("an expression")),
        };
        self.advance();
        self.node(position, 0, kind)
    }

    /// A string, and those that follow it without an operator.
    fn text(&mut self, position: Position) -> Result<Expr, Refused> {
        let mut text = String::new();
        while let TokenKind::Text(part) = self.peek() {
            text.push_str(part);
            self.advance();
        }
        self.node(position, 0, ExprKind::Text(text.into()))
    }

    fn brackets(&mut self, position: Position) -> Result<Expr, Refused> {
        self.advance();
        let (mut items, inner, has_comma) = self.items(")")?;
        match items.pop() {
            Some(only) if items.is_empty() && !has_comma => Ok(only),
            last => {
                items.extend(last);
                self.node(position, inner, ExprKind::Tuple(items))
            }
        }
    }

    /// Expressions up to this bracket, the depth of the deepest, and whether one is followed by a comma.
    fn items(&mut self, closing: &str) -> Result<(Vec<Expr>, u16, bool), Refused> {
        let (mut items, mut inner, mut has_comma) = (Vec::new(), 0, false);
        while !self.accept(closing) {
            let item = self.expression()?;
            inner = inner.max(item.depth);
            items.push(item);
            if self.accept(",") {
                has_comma = true;
            } else if !self.at_symbol(closing) {
                return Err(self.unexpected(&format!("',' or '{closing}'")));
            }
        }
        Ok((items, inner, has_comma))
    }

    fn dict(&mut self, position: Position) -> Result<Expr, Refused> {
        let (mut entries, mut inner) = (Vec::new(), 0);
        while !self.accept("}") {
            let key = self.expression()?;
            self.expect(":")?;
            let value = self.expression()?;
            inner = inner.max(key.depth).max(value.depth);
            entries.push((key, value));
            if !self.accept(",") && !self.at_symbol("}") {
                return Err(self.unexpected("',' or '}'"));
            }
        }
        self.node(position, inner, ExprKind::Dict(entries))
    }
}
