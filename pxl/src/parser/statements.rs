//! Statements: imports, functions, assignments, calls.

use std::rc::Rc;

use super::{
    ast::{Definition, Expr, ExprKind, Parameter, Statement, StatementKind},
    tokens::Parser,
};
use crate::{
    error::{Position, Refused},
    lexer::TokenKind,
};

/// Operators that assign and are not part of PxL.
const AUGMENTED: [&str; 12] = ["+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "**=", "//=", ">>=", "<<="];

impl Parser<'_, '_> {
    pub(super) fn script(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        while self.peek() != &TokenKind::EndOfScript && !self.errors.is_full() {
            match self.peek() {
                TokenKind::NewLine | TokenKind::Dedent => self.advance(),
                TokenKind::Indent => {
                    self.refuse_here("this line is indented and no block begins above it");
                    self.skip_statement();
                }
                _ => self.statement_into(&mut statements, true),
            }
        }
        statements
    }

    fn statement_into(&mut self, statements: &mut Vec<Statement>, is_top_level: bool) {
        match self.statement(statements, is_top_level) {
            Ok(()) => {}
            Err(Refused) => self.skip_statement(),
        }
    }

    fn statement(&mut self, statements: &mut Vec<Statement>, is_top_level: bool) -> Result<(), Refused> {
        let position = self.position();
        if let TokenKind::Keyword(word) = *self.peek() {
            match word {
                "import" => return self.import(statements),
                "from" => return Err(self.refuse_from()),
                "def" if is_top_level => return self.define(statements),
                "def" => return Err(self.refuse_here("a function cannot be defined inside of another one")),
                "return" if is_top_level => return Err(self.refuse_here("'return' stands outside of a function")),
                "return" => {
                    self.advance();
                    let value = if self.at_end_of_statement() { None } else { Some(self.expression_list()?) };
                    statements.push(Statement { position, kind: StatementKind::Return(value) });
                    return self.end_of_statement();
                }
                "True" | "False" | "None" | "not" => {}
                "if" | "elif" | "else" => {
                    return Err(self.refuse_here(format!(
                        "'{word}' is not part of PxL: px.select(condition, yes, no) chooses a value"
                    )));
                }
                "lambda" => {}
                _ => return Err(self.refuse_here(format!("'{word}' is not part of PxL"))),
            }
        }
        if self.at_symbol("@") {
            return Err(
                self.refuse_here("decorators declare probes of pxtrace, which is not supported; write a TracingPolicy")
            );
        }
        let expression = self.expression_list()?;
        let kind = self.assignment_or(expression)?;
        statements.push(Statement { position, kind });
        self.end_of_statement()
    }

    fn assignment_or(&mut self, expression: Expr) -> Result<StatementKind, Refused> {
        if let TokenKind::Symbol(symbol) = *self.peek()
            && AUGMENTED.contains(&symbol)
        {
            let operator = symbol.trim_end_matches('=');
            return Err(self.refuse_here(format!("'{symbol}' is not part of PxL: write 'x = x {operator} ..'")));
        }
        if !self.accept("=") {
            return Ok(StatementKind::Expression(expression));
        }
        let is_target =
            matches!(expression.kind, ExprKind::Name(_) | ExprKind::Attribute { .. } | ExprKind::Subscript { .. });
        if !is_target {
            return Err(self
                .errors
                .refuse(expression.position, "only a name, a column (df.x) or df['x'] can be assigned to"));
        }
        let value = self.expression_list()?;
        if self.at_symbol("=") {
            return Err(self.refuse_here("an assignment has one target: write one line for each"));
        }
        Ok(StatementKind::Assign { target: expression, value })
    }

    fn at_end_of_statement(&self) -> bool {
        matches!(self.peek(), TokenKind::NewLine | TokenKind::EndOfScript | TokenKind::Dedent) || self.at_symbol(";")
    }

    fn end_of_statement(&mut self) -> Result<(), Refused> {
        if self.accept(";") || self.peek() == &TokenKind::EndOfScript || self.peek() == &TokenKind::Dedent {
            return Ok(());
        }
        if self.peek() != &TokenKind::NewLine {
            return Err(self.unexpected("the end of the line"));
        }
        self.advance();
        Ok(())
    }

    fn import(&mut self, statements: &mut Vec<Statement>) -> Result<(), Refused> {
        self.advance();
        loop {
            let (name, position) = self.expect_name("the name of a module")?;
            if self.at_keyword("as") {
                return Err(self.refuse_here("'as' is not part of PxL: a module has its own name"));
            }
            statements.push(Statement { position, kind: StatementKind::Import(name.into()) });
            if !self.accept(",") {
                return self.end_of_statement();
            }
        }
    }

    /// `from MODULE import ..`, which is refused; pxtrace by its name.
    fn refuse_from(&mut self) -> Refused {
        let is_pxtrace = *self.peek_second() == TokenKind::Name("pxtrace");
        self.refuse_here(if is_pxtrace { PXTRACE } else { "'from' is not part of PxL: write 'import px'" })
    }

    fn define(&mut self, statements: &mut Vec<Statement>) -> Result<(), Refused> {
        self.advance();
        let (name, position) = self.expect_name("the name of the function")?;
        self.expect("(")?;
        let parameters = self.parameters()?;
        if self.accept("->") {
            self.expression()?;
        }
        self.expect(":")?;
        let body = self.block()?;
        let definition = Definition { name: name.into(), position, parameters, body };
        statements.push(Statement { position, kind: StatementKind::Define(Rc::new(definition)) });
        Ok(())
    }

    /// Parameters up to the closing bracket.
    fn parameters(&mut self) -> Result<Vec<Parameter>, Refused> {
        let mut parameters: Vec<Parameter> = Vec::new();
        while !self.accept(")") {
            if self.at_symbol("*") || self.at_symbol("**") {
                return Err(self.refuse_here("'*args' and '**kwargs' are not part of PxL"));
            }
            let (name, position) = self.expect_name("the name of a parameter")?;
            if parameters.iter().any(|parameter| *parameter.name == *name) {
                return Err(self.errors.refuse(position, format!("two parameters have the name '{name}'")));
            }
            let annotation = if self.accept(":") { Some(self.expression()?) } else { None };
            let default = if self.accept("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|last| last.default.is_some()) {
                return Err(self
                    .errors
                    .refuse(position, format!("'{name}' has no default and stands behind one that has")));
            }
            parameters.push(Parameter { name: name.into(), position, annotation, default });
            if !self.accept(",") && !self.at_symbol(")") {
                return Err(self.unexpected("',' or ')'"));
            }
        }
        Ok(parameters)
    }

    /// The statements of a function: on the same line or indented below.
    fn block(&mut self) -> Result<Vec<Statement>, Refused> {
        let mut statements = Vec::new();
        if self.peek() != &TokenKind::NewLine {
            self.statement(&mut statements, false)?;
            return Ok(statements);
        }
        self.advance();
        if self.peek() != &TokenKind::Indent {
            return Err(self.refuse_here("a function needs an indented line below it"));
        }
        self.advance();
        while !matches!(self.peek(), TokenKind::Dedent | TokenKind::EndOfScript) && !self.errors.is_full() {
            match self.peek() {
                TokenKind::NewLine => self.advance(),
                TokenKind::Indent => {
                    self.refuse_here("this line is indented and no block begins above it");
                    self.skip_statement();
                }
                _ => self.statement_into(&mut statements, false),
            }
        }
        if self.peek() == &TokenKind::Dedent {
            self.advance();
        }
        Ok(statements)
    }

    /// Where a tuple needs no brackets.
    fn expression_list(&mut self) -> Result<Expr, Refused> {
        let first = self.expression()?;
        if !self.at_symbol(",") {
            return Ok(first);
        }
        let (position, mut inner): (Position, u16) = (first.position, first.depth);
        let mut items = vec![first];
        while self.accept(",") {
            if self.at_end_of_statement() || self.at_symbol("=") {
                break;
            }
            let item = self.expression()?;
            inner = inner.max(item.depth);
            items.push(item);
        }
        self.node(position, inner, ExprKind::Tuple(items))
    }
}

/// What to use in place of pxtrace.
pub(crate) const PXTRACE: &str = "pxtrace is not supported: for system calls and kernel functions apply a TracingPolicy and read its events, for \
                                  requests and CPU time an AppProfile";
