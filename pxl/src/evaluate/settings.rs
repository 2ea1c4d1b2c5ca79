//! Comments that set something: `#px:set NAME=VALUE`.

use super::evaluator::Evaluator;
use crate::{
    error::{Position, quote},
    nearest::did_you_mean,
};

const NAMES: [&str; 3] = ["max_output_rows_per_table", "explain", "analyze"];

impl Evaluator<'_> {
    pub(crate) fn apply_setting(&mut self, position: Position, text: &str) {
        for setting in text.split_whitespace() {
            let Some((name, value)) = setting.split_once('=') else {
                self.refuse(position, format!("'#px:set' is followed by NAME=VALUE, not by {}", quote(setting)));
                continue;
            };
            let is_set = match name {
                "max_output_rows_per_table" => {
                    value.parse().map(|rows| self.settings.max_output_rows_per_table = rows).is_ok()
                }
                "explain" => value.parse().map(|explain| self.settings.explain = explain).is_ok(),
                "analyze" => value.parse().map(|analyze| self.settings.analyze = analyze).is_ok(),
                _ => {
                    let advice = did_you_mean(name, NAMES);
                    self.refuse(position, format!("'#px:set' knows no {}{advice}", quote(name)));
                    continue;
                }
            };
            if !is_set {
                let kind = if name == NAMES[0] { "a number of rows" } else { "true or false" };
                self.refuse(position, format!("{name} is {kind}, not {}", quote(value)));
            }
        }
    }
}
