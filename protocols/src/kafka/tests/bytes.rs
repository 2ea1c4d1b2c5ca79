//! Messages as the protocol's definition writes them, in both forms.

/// Writes the fields of a body.
pub(super) struct Writer {
    is_flexible: bool,
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(is_flexible: bool) -> Self {
        Self { is_flexible, bytes: Vec::new() }
    }

    pub(super) fn is_flexible(&self) -> bool {
        self.is_flexible
    }

    /// The same with a byte behind it.
    pub(super) fn with_byte(&self) -> Self {
        Self { is_flexible: self.is_flexible, bytes: [&self.bytes[..], &[0]].concat() }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn int8(&mut self, number: i8) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn int16(&mut self, number: i16) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn int32(&mut self, number: i32) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn int64(&mut self, number: i64) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    fn varint(&mut self, mut number: u32) -> &mut Self {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let length = text.len();
        if self.is_flexible {
            self.varint(length as u32 + 1)
        } else {
            self.int16(length as i16)
        };
        self.bytes(text.as_bytes())
    }

    pub(super) fn no_text(&mut self) -> &mut Self {
        if self.is_flexible { self.varint(0) } else { self.int16(-1) }
    }

    pub(super) fn records(&mut self, records: &str) -> &mut Self {
        self.array(records.len() as i32);
        self.bytes(records.as_bytes())
    }

    /// The number of elements that follow.
    pub(super) fn array(&mut self, count: i32) -> &mut Self {
        if self.is_flexible { self.varint(count as u32 + 1) } else { self.int32(count) }
    }

    pub(super) fn no_array(&mut self) -> &mut Self {
        if self.is_flexible { self.varint(0) } else { self.int32(-1) }
    }

    /// The end of a struct: no tagged fields.
    pub(super) fn tags(&mut self) -> &mut Self {
        if self.is_flexible { self.varint(0) } else { self }
    }

    /// The end of a struct with one tagged field.
    pub(super) fn tagged(&mut self, tag: u32, bytes: &[u8]) -> &mut Self {
        if self.is_flexible { self.varint(1).varint(tag).varint(bytes.len() as u32).bytes(bytes) } else { self }
    }
}

/// The length of a message, and the message.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as i32).to_be_bytes()[..], message].concat()
}

pub(super) fn request(key: i16, version: i16, correlation: i32, body: &Writer) -> Vec<u8> {
    let mut message = Writer::new(false);
    message.int16(key).int16(version).int32(correlation).text("reef-1");
    message.is_flexible = body.is_flexible;
    message.tags().bytes(&body.bytes);
    framed(&message.bytes)
}

/// `has_tags`: its header ends with tagged fields.
pub(super) fn answer(correlation: i32, has_tags: bool, body: &Writer) -> Vec<u8> {
    let mut message = Writer::new(has_tags);
    message.int32(correlation).tags().bytes(&body.bytes);
    framed(&message.bytes)
}
