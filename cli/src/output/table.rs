//! Tables: columns as wide as their widest cell, two blanks apart; the last one is not padded.

use trilobite_untrusted_text::escape;

/// Rows under `header`; each line has its end. Unprintable characters of cells are escaped.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    painted_table(header, rows, |_, cell| cell.to_owned())
}

/// With each cell of a row through `paint`, which knows the cell's column; colors do not count as width.
pub(crate) fn painted_table<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    paint: impl Fn(usize, &str) -> String,
) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| escape(cell))).collect();
    let mut widths = header.map(|cell| cell.chars().count());
    rows.iter().for_each(|row| widen(&mut widths, row));
    let mut text = padded_line(&header, &widths, |_, cell| cell.to_owned()) + "\n";
    for row in &rows {
        text.push_str(&padded_line(row, &widths, &paint));
        text.push('\n');
    }
    text
}

/// Makes columns at least as wide as the cells of a row.
pub(crate) fn widen(widths: &mut [usize], row: &[String]) {
    for (width, cell) in widths.iter_mut().zip(row) {
        *width = (*width).max(cell.chars().count());
    }
}

/// A row as a line without its end. The cells are printable already.
pub(crate) fn padded_line(row: &[impl AsRef<str>], widths: &[usize], paint: impl Fn(usize, &str) -> String) -> String {
    let padded = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        let blanks = width.saturating_sub(cell.as_ref().chars().count());
        format!("{}{}", paint(column, cell.as_ref()), " ".repeat(blanks))
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["alder".to_owned(), String::new()], ["é".to_owned(), "x".to_owned()]];
        assert_eq!(table(["NODE", "Y"], &rows), "NODE   Y\nalder\né      x\n");
    }

    #[test]
    fn colors_do_not_count_as_width() {
        let rows = [["no".to_owned(), "x".to_owned()], ["yes".to_owned(), "y".to_owned()]];
        let text = painted_table(["READY", "Y"], &rows, |column, cell| match column {
            0 => format!("\x1b[31m{cell}\x1b[0m"),
            _ => cell.to_owned(),
        });
        assert_eq!(text, "READY  Y\n\x1b[31mno\x1b[0m     x\n\x1b[31myes\x1b[0m    y\n");
    }

    #[test]
    fn cell_cannot_reorder_or_break_a_line() {
        let rows = [["a\u{202e}\nb".to_owned(), "x".to_owned()]];
        assert_eq!(table(["NODE", "Y"], &rows), "NODE          Y\na\\u{202e}\\nb  x\n");
    }
}
