//! Kafka's APIs by their keys: names, the highest version that is known, and which messages are decoded.

use super::schema::{self, Schema};

/// An API that brokers serve to clients.
pub(super) struct Api {
    pub(super) name: &'static str,
    /// The highest version that is believed of a request.
    pub(super) latest: i16,
}

const fn api(name: &'static str, latest: i16) -> Api {
    Api { name, latest }
}

/// By key. Versions beyond the latest of Kafka 4 leave room for the next ones.
static APIS: [Api; 93] = [
    api("Produce", 16),
    api("Fetch", 20),
    api("ListOffsets", 14),
    api("Metadata", 16),
    api("LeaderAndIsr", 8),
    api("StopReplica", 6),
    api("UpdateMetadata", 10),
    api("ControlledShutdown", 4),
    api("OffsetCommit", 12),
    api("OffsetFetch", 12),
    api("FindCoordinator", 8),
    api("JoinGroup", 11),
    api("Heartbeat", 6),
    api("LeaveGroup", 7),
    api("SyncGroup", 7),
    api("DescribeGroups", 8),
    api("ListGroups", 7),
    api("SaslHandshake", 2),
    api("ApiVersions", 6),
    api("CreateTopics", 9),
    api("DeleteTopics", 8),
    api("DeleteRecords", 4),
    api("InitProducerId", 8),
    api("OffsetForLeaderEpoch", 6),
    api("AddPartitionsToTxn", 7),
    api("AddOffsetsToTxn", 6),
    api("EndTxn", 7),
    api("WriteTxnMarkers", 4),
    api("TxnOffsetCommit", 8),
    api("DescribeAcls", 5),
    api("CreateAcls", 5),
    api("DeleteAcls", 5),
    api("DescribeConfigs", 6),
    api("AlterConfigs", 4),
    api("AlterReplicaLogDirs", 4),
    api("DescribeLogDirs", 7),
    api("SaslAuthenticate", 4),
    api("CreatePartitions", 5),
    api("CreateDelegationToken", 5),
    api("RenewDelegationToken", 4),
    api("ExpireDelegationToken", 4),
    api("DescribeDelegationToken", 5),
    api("DeleteGroups", 4),
    api("ElectLeaders", 4),
    api("IncrementalAlterConfigs", 3),
    api("AlterPartitionReassignments", 3),
    api("ListPartitionReassignments", 2),
    api("OffsetDelete", 2),
    api("DescribeClientQuotas", 3),
    api("AlterClientQuotas", 3),
    api("DescribeUserScramCredentials", 2),
    api("AlterUserScramCredentials", 2),
    api("Vote", 4),
    api("BeginQuorumEpoch", 3),
    api("EndQuorumEpoch", 3),
    api("DescribeQuorum", 4),
    api("AlterPartition", 5),
    api("UpdateFeatures", 4),
    api("Envelope", 2),
    api("FetchSnapshot", 3),
    api("DescribeCluster", 4),
    api("DescribeProducers", 2),
    api("BrokerRegistration", 6),
    api("BrokerHeartbeat", 4),
    api("UnregisterBroker", 2),
    api("DescribeTransactions", 2),
    api("ListTransactions", 4),
    api("AllocateProducerIds", 2),
    api("ConsumerGroupHeartbeat", 3),
    api("ConsumerGroupDescribe", 3),
    api("ControllerRegistration", 2),
    api("GetTelemetrySubscriptions", 2),
    api("PushTelemetry", 2),
    api("AssignReplicasToDirs", 2),
    api("ListConfigResources", 3),
    api("DescribeTopicPartitions", 2),
    api("ShareGroupHeartbeat", 3),
    api("ShareGroupDescribe", 3),
    api("ShareFetch", 4),
    api("ShareAcknowledge", 4),
    api("AddRaftVoter", 3),
    api("RemoveRaftVoter", 2),
    api("UpdateRaftVoter", 2),
    api("InitializeShareGroupState", 2),
    api("ReadShareGroupState", 2),
    api("WriteShareGroupState", 3),
    api("DeleteShareGroupState", 2),
    api("ReadShareGroupStateSummary", 3),
    api("StreamsGroupHeartbeat", 2),
    api("StreamsGroupDescribe", 2),
    api("DescribeShareGroupOffsets", 3),
    api("AlterShareGroupOffsets", 2),
    api("DeleteShareGroupOffsets", 2),
];

pub(super) fn of_key(key: i16) -> Option<&'static Api> {
    APIS.get(usize::try_from(key).ok()?)
}

/// The name of an API, e.g. `Produce`; `?` where the key is none.
pub fn api_name(key: i64) -> &'static str {
    i16::try_from(key).ok().and_then(of_key).map_or("?", |api| api.name)
}

/// The fields of a request's body in this version, where they are read.
pub(super) fn request_schema(key: i16, version: i16) -> Option<&'static Schema> {
    known(key, version).map(|(request, _)| request)
}

/// The fields of an answer's body in this version, where they are read.
pub(super) fn answer_schema(key: i16, version: i16) -> Option<&'static Schema> {
    known(key, version).map(|(_, answer)| answer)
}

fn known(key: i16, version: i16) -> Option<(&'static Schema, &'static Schema)> {
    let (latest, request, answer) = match key {
        0 => (13, &schema::PRODUCE_REQUEST, &schema::PRODUCE_ANSWER),
        1 => (18, &schema::FETCH_REQUEST, &schema::FETCH_ANSWER),
        3 => (13, &schema::METADATA_REQUEST, &schema::METADATA_ANSWER),
        8 => (10, &schema::OFFSET_COMMIT_REQUEST, &schema::OFFSET_COMMIT_ANSWER),
        11 => (9, &schema::JOIN_GROUP_REQUEST, &schema::JOIN_GROUP_ANSWER),
        12 => (4, &schema::HEARTBEAT_REQUEST, &schema::HEARTBEAT_ANSWER),
        14 => (5, &schema::SYNC_GROUP_REQUEST, &schema::SYNC_GROUP_ANSWER),
        18 => (5, &schema::API_VERSIONS_REQUEST, &schema::API_VERSIONS_ANSWER),
        _ => return None,
    };
    (version <= latest).then_some((request, answer))
}
