//! Parses the `format` file of a classic tracepoint: the fields of its record and their offsets. Pure.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracepointField {
    /// The C type without the name: `const char *`, `unsigned long[6]`, `__data_loc char[]`.
    pub kind: String,
    pub name: String,
    /// Bytes from the begin of the record.
    pub offset: u16,
    /// Bytes.
    pub size: u16,
    pub signed: bool,
}

impl TracepointField {
    /// One of the fields at the begin of every record, which programs cannot read.
    pub fn is_common(&self) -> bool {
        self.name.starts_with("common_")
    }
}

/// All fields in the order of the file, with the common ones, which Tetragon's policies count too.
pub fn parse_format(format: &str) -> Vec<TracepointField> {
    format.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<TracepointField> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let (mut offset, mut size, mut signed) = (None, None, false);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            Some(("signed", value)) => signed = value == "1",
            _ => {}
        }
    }
    let (declaration, array) = match declaration.find('[') {
        // `char comm[16]`, but also `__data_loc char[] filename`.
        Some(at) if !declaration[at..].trim_end().contains(' ') => declaration.split_at(at),
        _ => (declaration, ""),
    };
    let (kind, name) = declaration.trim_end().rsplit_once([' ', '*'])?;
    let pointer = if declaration[kind.len()..].starts_with('*') { "*" } else { "" };
    Some(TracepointField {
        kind: format!("{}{pointer}{array}", kind.trim_end()),
        name: name.to_owned(),
        offset: offset?,
        size: size?,
        signed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: sample\nID: 7\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;\n\
        \tfield:__data_loc char[] text;\toffset:8;\tsize:4;\tsigned:0;\n\
        \tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n\
        \tfield:char comm[16];\toffset:64;\tsize:16;\tsigned:0;\n\n\
        print fmt: \"x\"\n";

    #[test]
    fn fields_are_in_the_order_of_the_file_with_the_common_ones() {
        let found = parse_format(FORMAT);
        let seen: Vec<(&str, &str, u16)> =
            found.iter().map(|field| (field.name.as_str(), field.kind.as_str(), field.offset)).collect();
        assert_eq!(
            seen,
            [
                ("common_type", "unsigned short", 0),
                ("common_pid", "int", 4),
                ("filename", "const char *", 24),
                ("text", "__data_loc char[]", 8),
                ("args", "unsigned long[6]", 16),
                ("comm", "char[16]", 64),
            ]
        );
        assert!(found[1].is_common() && found[1].signed);
    }
}
