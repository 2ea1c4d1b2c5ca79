//! Functions of texts: strings, JSON, regular expressions, SQL, addresses, numbers that stand for names.

use trilobite_schema::SemanticType;

use super::function::{B, F, Function, I, Overload, S, overloads, scalar};

const TEXT_TO_TEXT: &[Overload] = overloads![(S) -> S];
const TWO_TEXTS: &[Overload] = overloads![(S, S) -> S];
const TWO_TEXTS_TEST: &[Overload] = overloads![(S, S) -> B];
const NAME_OF_NUMBER: &[Overload] = overloads![(I) -> S];

pub(super) static FUNCTIONS: &[Function] = &[
    scalar("atoi", overloads![(S, I) -> I]),
    scalar("bytes_to_hex", TEXT_TO_TEXT),
    scalar("contains", TWO_TEXTS_TEST),
    scalar("find", overloads![(S, S) -> I]),
    scalar("hex_to_ascii", TEXT_TO_TEXT),
    scalar("itoa", NAME_OF_NUMBER),
    scalar("length", overloads![(S) -> I]),
    scalar("strip_prefix", TWO_TEXTS),
    scalar("substring", overloads![(S, I, I) -> S]),
    scalar("tolower", TEXT_TO_TEXT),
    scalar("toupper", TEXT_TO_TEXT),
    scalar("trim", TEXT_TO_TEXT),
    scalar("split", TWO_TEXTS),
    scalar("pluck", TWO_TEXTS),
    scalar("pluck_array", overloads![(S, I) -> S]),
    scalar("pluck_float64", overloads![(S, S) -> F]),
    scalar("pluck_int64", overloads![(S, S) -> I]),
    scalar("regex_match", TWO_TEXTS_TEST),
    scalar("replace", overloads![(S, S, S) -> S]),
    scalar("_match_endpoint", TWO_TEXTS_TEST),
    scalar("_match_regex_rule", TWO_TEXTS),
    scalar("_predict_request_path_cluster", TWO_TEXTS),
    scalar("normalize_mysql", overloads![(S, I) -> S]),
    scalar("normalize_pgsql", TWO_TEXTS),
    scalar("redact_pii_best_effort", TEXT_TO_TEXT),
    scalar("uri_parse", TEXT_TO_TEXT),
    scalar("uri_recompose", overloads![(S, S, S, I, S, S, S) -> S]),
    scalar("cidrs_contain_ip", TWO_TEXTS_TEST),
    scalar("nslookup", TEXT_TO_TEXT),
    scalar("amqp_frame_type_name", NAME_OF_NUMBER),
    scalar("amqp_method_name", overloads![(I, I) -> S]),
    scalar("cql_opcode_name", NAME_OF_NUMBER),
    scalar("dns_rcode_name", NAME_OF_NUMBER),
    scalar("grpc_status_code_to_str", NAME_OF_NUMBER),
    scalar("http_resp_message", NAME_OF_NUMBER).is(SemanticType::HttpResponseMessage),
    scalar("kafka_api_key_name", NAME_OF_NUMBER),
    scalar("mux_frame_type_name", NAME_OF_NUMBER),
    scalar("mysql_command_name", NAME_OF_NUMBER),
    scalar("protocol_name", NAME_OF_NUMBER),
];
