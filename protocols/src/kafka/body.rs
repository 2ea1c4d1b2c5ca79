//! What is kept of a body: topics, partitions, groups and errors. Never keys or values of records.

use serde_json::{Map, Value, json};

use super::schema::What;

/// Topics and partitions of a message that are kept.
const TOPICS_MAX: usize = 16;
const PARTITIONS_MAX: usize = 48;

/// A topic's id.
pub(super) type TopicId = [u8; 16];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Option<TopicId>,
    error: Option<i64>,
    partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Partition {
    index: i64,
    error: Option<i64>,
    /// Bytes of its records.
    size: Option<u64>,
}

/// The fields of a body that are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) topics: Vec<Topic>,
    partitions: usize,
    acks: Option<i64>,
    pub(super) group: Option<String>,
    member: Option<String>,
    generation: Option<i64>,
    protocol_type: Option<String>,
    error: Option<i64>,
    /// There was more than is kept, or a part of it was not seen.
    pub(super) is_cut: bool,
    /// An element of an array of topics has begun: its first field makes the topic.
    begins_topic: bool,
    /// Depth of what is read: 0 for the message, 1 for a topic, 2 for a partition.
    first_error_in_partitions: Option<i64>,
}

impl Body {
    /// An element of an array at this depth begins.
    pub(super) fn begin_element(&mut self, depth: usize) {
        if depth == 1 {
            self.begins_topic = true;
        }
    }

    pub(super) fn number(&mut self, what: What, depth: usize, number: i64) {
        match what {
            What::Acks => self.acks = Some(number),
            What::Generation => self.generation = Some(number),
            What::Partition => self.add_partition(number),
            What::Error => self.add_error(depth, number),
            _ => {}
        }
    }

    pub(super) fn text(&mut self, what: What, text: Option<String>) {
        match what {
            What::Group => self.group = text,
            What::Member => self.member = text,
            What::ProtocolType => self.protocol_type = text,
            What::Topic => {
                if let Some(topic) = self.topic() {
                    topic.name = text.unwrap_or_default();
                }
            }
            _ => {}
        }
    }

    pub(super) fn topic_id(&mut self, id: TopicId) {
        if id != TopicId::default()
            && let Some(topic) = self.topic()
        {
            topic.id = Some(id);
        }
    }

    pub(super) fn records(&mut self, bytes: u64) {
        if self.partitions <= PARTITIONS_MAX
            && let Some(partition) = self.topics.last_mut().and_then(|topic| topic.partitions.last_mut())
        {
            partition.size = Some(bytes);
        }
    }

    /// Clients that want no acknowledgement get no answer.
    pub(super) fn wants_no_answer(&self) -> bool {
        self.acks == Some(0)
    }

    /// The first error in it; none: it says nothing of errors.
    pub(super) fn first_error(&self) -> Option<i64> {
        let errors = [self.error, self.first_error_in_partitions];
        errors.into_iter().flatten().find(|error| *error != 0).or(self.error).or(self.first_error_in_partitions)
    }

    /// What it holds on the heap.
    pub(super) fn size(&self) -> usize {
        let topics = self.topics.iter().map(|topic| {
            size_of::<Topic>() + topic.name.capacity() + topic.partitions.capacity() * size_of::<Partition>()
        });
        let texts = [&self.group, &self.member, &self.protocol_type];
        topics.sum::<usize>() + texts.into_iter().flatten().map(String::capacity).sum::<usize>()
    }

    /// In the words of Pixie's columns.
    pub(super) fn json(&self) -> String {
        let mut object = Map::new();
        let numbers = [("acks", self.acks), ("generation_id", self.generation), ("error_code", self.error)];
        for (name, number) in numbers {
            number.map(|number| object.insert(name.to_owned(), json!(number)));
        }
        let texts = [("group_id", &self.group), ("member_id", &self.member), ("protocol_type", &self.protocol_type)];
        for (name, text) in texts {
            text.as_ref().map(|text| object.insert(name.to_owned(), json!(text)));
        }
        if !self.topics.is_empty() {
            object.insert("topics".to_owned(), self.topics.iter().map(Topic::json).collect());
        }
        if self.is_cut {
            object.insert("truncated".to_owned(), json!(true));
        }
        Value::Object(object).to_string()
    }

    /// The topic that is being read, which its first field makes.
    fn topic(&mut self) -> Option<&mut Topic> {
        if std::mem::take(&mut self.begins_topic) {
            if self.topics.len() >= TOPICS_MAX {
                self.is_cut = true;
                // Its partitions are no other topic's.
                self.partitions = PARTITIONS_MAX + 1;
                return None;
            }
            self.topics.push(Topic::default());
        }
        if self.partitions > PARTITIONS_MAX { None } else { self.topics.last_mut() }
    }

    fn add_partition(&mut self, index: i64) {
        self.partitions += 1;
        if self.partitions > PARTITIONS_MAX {
            self.is_cut = true;
        } else if let Some(topic) = self.topics.last_mut() {
            topic.partitions.push(Partition { index, ..Partition::default() });
        }
    }

    fn add_error(&mut self, depth: usize, error: i64) {
        if depth == 0 {
            self.error = Some(error);
            return;
        }
        if self.first_error_in_partitions.is_none_or(|first| first == 0) {
            self.first_error_in_partitions = Some(error);
        }
        if depth == 1 {
            if let Some(topic) = self.topic() {
                topic.error = Some(error);
            }
        } else if self.partitions <= PARTITIONS_MAX
            && let Some(partition) = self.topics.last_mut().and_then(|topic| topic.partitions.last_mut())
        {
            partition.error = Some(error);
        }
    }
}

impl Topic {
    /// Its name, or its id as Kafka prints it.
    pub(super) fn shown(&self) -> String {
        match self.id {
            Some(id) if self.name.is_empty() => id_text(id),
            _ => self.name.clone(),
        }
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(self.shown()));
        if let Some(error) = self.error {
            object.insert("error_code".to_owned(), json!(error));
        }
        if !self.partitions.is_empty() {
            object.insert("partitions".to_owned(), self.partitions.iter().map(Partition::json).collect());
        }
        Value::Object(object)
    }
}

impl Partition {
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("index".to_owned(), json!(self.index));
        if let Some(error) = self.error {
            object.insert("error_code".to_owned(), json!(error));
        }
        if let Some(size) = self.size {
            object.insert("message_set".to_owned(), json!({ "size": size }));
        }
        Value::Object(object)
    }
}

/// Base 64 for URLs, without padding.
fn id_text(id: TopicId) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(id);
    // 22 digits of 6 bits are 132 bits: the last digit has 2.
    let digit = |index: u32| match 122_u32.checked_sub(6 * index) {
        Some(shift) => number >> shift & 63,
        None => number << 4 & 63,
    };
    (0..22).filter_map(|index| DIGITS.get(digit(index) as usize)).map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_printed_as_kafka_does() {
        assert_eq!(id_text([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(id_text([0xff; 16]), "_____________________w");
        let id = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
        assert_eq!(id_text(id), "EjRWeJq83vASNFZ4mrze8A");
    }
}
