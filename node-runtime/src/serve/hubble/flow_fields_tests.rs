//! Each field of a flow is set for some event, or stands in the documented list.

use prost::Message;
use trilobite_api::observer::get_flows_response::ResponseTypes;

use super::{hubble_client_tests::flows::random_flow, response};
use crate::{random::Random, serve::message_fields::assert_set_or_documented};

#[test]
fn each_field_of_a_flow_is_set_or_documented() {
    let mut random = Random::new(14);
    let encoded = (0..500).map(|number| match response(&random_flow(&mut random, number), "n1").response_types {
        Some(ResponseTypes::Flow(flow)) => flow.encode_to_vec(),
        other => panic!("no flow: {other:?}"),
    });
    assert_set_or_documented("## Which fields of Hubble's flows are never set?", &[(".flow.Flow", encoded.collect())]);
}
