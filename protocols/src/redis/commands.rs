//! The commands of Redis and which of their arguments are keys.

/// Which arguments of a command are keys, or name what it works on. The command's name is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// None of them; they may be secrets.
    None,
    First,
    FirstTwo,
    /// Each of them.
    All,
    /// Each but the last, which is a timeout.
    AllButLast,
    /// Keys and values in turns.
    EverySecond,
    /// Each but the first, e.g. BITOP.
    AllBehindFirst,
    /// A number at this index says how many follow it; what stands before it is no key.
    Counted(usize),
    /// The first one, then as `Counted(1)`: ZUNIONSTORE.
    FirstAndCounted,
    /// The first half of what stands behind the word STREAMS.
    Streams,
    /// The third, behind a host and a port: MIGRATE.
    Third,
    /// The first argument is a part of the command's name; the rest is as said here.
    Sub(&'static Keys),
}

/// Longest name of a command, and of its second word.
pub(super) const NAME_MAX: usize = 32;

/// Whether this is a command's name, in either case.
pub(super) fn is_known(word: &[u8]) -> bool {
    find(word).is_some()
}

/// Whether a command's name begins so.
pub(super) fn begins_name(word: &[u8]) -> bool {
    let Some(upper) = upper(word) else { return false };
    COMMANDS.iter().any(|(name, _)| name.starts_with(&upper))
}

/// The name as it is shown, and which arguments are keys.
pub(super) fn find(word: &[u8]) -> Option<(&'static str, Keys)> {
    let upper = upper(word)?;
    COMMANDS
        .binary_search_by(|(name, _)| (*name).cmp(upper.as_str()))
        .ok()
        .and_then(|index| COMMANDS.get(index))
        .copied()
}

fn upper(word: &[u8]) -> Option<String> {
    if word.is_empty() || word.len() > NAME_MAX {
        return None;
    }
    Some(std::str::from_utf8(word).ok()?.to_ascii_uppercase())
}

use Keys::{
    All, AllBehindFirst, AllButLast, Counted, EverySecond, First, FirstAndCounted, FirstTwo, None as NoKeys, Streams,
    Sub, Third,
};

/// By name.
#[rustfmt::skip]
const COMMANDS: [(&str, Keys); 254] = [
    ("ACL", Sub(&NoKeys)), ("APPEND", First), ("ASKING", NoKeys), ("AUTH", NoKeys), ("BGREWRITEAOF", NoKeys),
    ("BGSAVE", NoKeys), ("BITCOUNT", First), ("BITFIELD", First), ("BITFIELD_RO", First), ("BITOP", AllBehindFirst),
    ("BITPOS", First), ("BLMOVE", FirstTwo), ("BLMPOP", Counted(1)), ("BLPOP", AllButLast), ("BRPOP", AllButLast),
    ("BRPOPLPUSH", FirstTwo), ("BZMPOP", Counted(1)), ("BZPOPMAX", AllButLast), ("BZPOPMIN", AllButLast),
    ("CLIENT", Sub(&NoKeys)), ("CLUSTER", Sub(&NoKeys)), ("COMMAND", Sub(&NoKeys)), ("CONFIG", Sub(&NoKeys)),
    ("COPY", FirstTwo), ("DBSIZE", NoKeys), ("DEBUG", Sub(&NoKeys)), ("DECR", First), ("DECRBY", First), ("DEL", All),
    ("DISCARD", NoKeys), ("DUMP", First), ("ECHO", NoKeys), ("EVAL", Counted(1)), ("EVALSHA", Counted(1)),
    ("EVALSHA_RO", Counted(1)), ("EVAL_RO", Counted(1)), ("EXEC", NoKeys), ("EXISTS", All), ("EXPIRE", First),
    ("EXPIREAT", First), ("EXPIRETIME", First), ("FAILOVER", NoKeys), ("FCALL", Counted(1)), ("FCALL_RO", Counted(1)),
    ("FLUSHALL", NoKeys), ("FLUSHDB", NoKeys), ("FUNCTION", Sub(&NoKeys)), ("GEOADD", First), ("GEODIST", First),
    ("GEOHASH", First), ("GEOPOS", First), ("GEORADIUS", First), ("GEORADIUSBYMEMBER", First),
    ("GEORADIUSBYMEMBER_RO", First), ("GEORADIUS_RO", First), ("GEOSEARCH", First), ("GEOSEARCHSTORE", FirstTwo),
    ("GET", First), ("GETBIT", First), ("GETDEL", First), ("GETEX", First), ("GETRANGE", First), ("GETSET", First),
    ("HDEL", First), ("HELLO", NoKeys), ("HEXISTS", First), ("HEXPIRE", First), ("HEXPIREAT", First),
    ("HEXPIRETIME", First), ("HGET", First), ("HGETALL", First), ("HGETDEL", First), ("HGETEX", First),
    ("HINCRBY", First), ("HINCRBYFLOAT", First), ("HKEYS", First), ("HLEN", First), ("HMGET", First),
    ("HMSET", First), ("HPERSIST", First), ("HPEXPIRE", First), ("HPEXPIREAT", First), ("HPEXPIRETIME", First),
    ("HPTTL", First), ("HRANDFIELD", First), ("HSCAN", First), ("HSET", First), ("HSETEX", First), ("HSETNX", First),
    ("HSTRLEN", First), ("HTTL", First), ("HVALS", First), ("INCR", First), ("INCRBY", First), ("INCRBYFLOAT", First),
    ("INFO", NoKeys), ("KEYS", First), ("LASTSAVE", NoKeys), ("LATENCY", Sub(&NoKeys)), ("LCS", FirstTwo),
    ("LINDEX", First), ("LINSERT", First), ("LLEN", First), ("LMOVE", FirstTwo), ("LMPOP", Counted(0)),
    ("LOLWUT", NoKeys), ("LPOP", First), ("LPOS", First), ("LPUSH", First), ("LPUSHX", First), ("LRANGE", First),
    ("LREM", First), ("LSET", First), ("LTRIM", First), ("MEMORY", Sub(&First)), ("MGET", All), ("MIGRATE", Third),
    ("MODULE", Sub(&NoKeys)), ("MONITOR", NoKeys), ("MOVE", First), ("MSET", EverySecond), ("MSETNX", EverySecond),
    ("MULTI", NoKeys), ("OBJECT", Sub(&First)), ("PERSIST", First), ("PEXPIRE", First), ("PEXPIREAT", First),
    ("PEXPIRETIME", First), ("PFADD", First), ("PFCOUNT", All), ("PFDEBUG", NoKeys), ("PFMERGE", All),
    ("PFSELFTEST", NoKeys), ("PING", NoKeys), ("PSETEX", First), ("PSUBSCRIBE", All), ("PSYNC", NoKeys),
    ("PTTL", First), ("PUBLISH", First), ("PUBSUB", Sub(&NoKeys)), ("PUNSUBSCRIBE", All), ("QUIT", NoKeys),
    ("RANDOMKEY", NoKeys), ("READONLY", NoKeys), ("READWRITE", NoKeys), ("RENAME", FirstTwo), ("RENAMENX", FirstTwo),
    ("REPLCONF", NoKeys), ("REPLICAOF", NoKeys), ("RESET", NoKeys), ("RESTORE", First), ("RESTORE-ASKING", First),
    ("ROLE", NoKeys), ("RPOP", First), ("RPOPLPUSH", FirstTwo), ("RPUSH", First), ("RPUSHX", First), ("SADD", First),
    ("SAVE", NoKeys), ("SCAN", NoKeys), ("SCARD", First), ("SCRIPT", Sub(&NoKeys)), ("SDIFF", All),
    ("SDIFFSTORE", All), ("SELECT", First), ("SENTINEL", Sub(&NoKeys)), ("SET", First), ("SETBIT", First),
    ("SETEX", First), ("SETNX", First), ("SETRANGE", First), ("SHUTDOWN", NoKeys), ("SINTER", All),
    ("SINTERCARD", Counted(0)), ("SINTERSTORE", All), ("SISMEMBER", First), ("SLAVEOF", NoKeys),
    ("SLOWLOG", Sub(&NoKeys)), ("SMEMBERS", First), ("SMISMEMBER", First), ("SMOVE", FirstTwo), ("SORT", First),
    ("SORT_RO", First), ("SPOP", First), ("SPUBLISH", First), ("SRANDMEMBER", First), ("SREM", First),
    ("SSCAN", First), ("SSUBSCRIBE", All), ("STRLEN", First), ("SUBSCRIBE", All), ("SUBSTR", First), ("SUNION", All),
    ("SUNIONSTORE", All), ("SUNSUBSCRIBE", All), ("SWAPDB", FirstTwo), ("SYNC", NoKeys), ("TIME", NoKeys),
    ("TOUCH", All), ("TTL", First), ("TYPE", First), ("UNLINK", All), ("UNSUBSCRIBE", All), ("UNWATCH", NoKeys),
    ("WAIT", NoKeys), ("WAITAOF", NoKeys), ("WATCH", All), ("XACK", First), ("XADD", First), ("XAUTOCLAIM", First),
    ("XCLAIM", First), ("XDEL", First), ("XGROUP", Sub(&First)), ("XINFO", Sub(&First)), ("XLEN", First),
    ("XPENDING", First), ("XRANGE", First), ("XREAD", Streams), ("XREADGROUP", Streams), ("XREVRANGE", First),
    ("XSETID", First), ("XTRIM", First), ("ZADD", First), ("ZCARD", First), ("ZCOUNT", First), ("ZDIFF", Counted(0)),
    ("ZDIFFSTORE", FirstAndCounted), ("ZINCRBY", First), ("ZINTER", Counted(0)), ("ZINTERCARD", Counted(0)),
    ("ZINTERSTORE", FirstAndCounted), ("ZLEXCOUNT", First), ("ZMPOP", Counted(0)), ("ZMSCORE", First),
    ("ZPOPMAX", First), ("ZPOPMIN", First), ("ZRANDMEMBER", First), ("ZRANGE", First), ("ZRANGEBYLEX", First),
    ("ZRANGEBYSCORE", First), ("ZRANGESTORE", FirstTwo), ("ZRANK", First), ("ZREM", First), ("ZREMRANGEBYLEX", First),
    ("ZREMRANGEBYRANK", First), ("ZREMRANGEBYSCORE", First), ("ZREVRANGE", First), ("ZREVRANGEBYLEX", First),
    ("ZREVRANGEBYSCORE", First), ("ZREVRANK", First), ("ZSCAN", First), ("ZSCORE", First), ("ZUNION", Counted(0)),
    ("ZUNIONSTORE", FirstAndCounted),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_in_order_and_are_found() {
        assert!(COMMANDS.is_sorted_by(|before, behind| before.0 < behind.0));
        assert!(COMMANDS.iter().all(|(name, _)| name.len() <= NAME_MAX));
        assert_eq!(find(b"get"), Some(("GET", First)));
        assert_eq!(find(b"zUnion"), Some(("ZUNION", Counted(0))));
        assert_eq!(find(b"GETX"), None);
        assert!(begins_name(b"ge") && !begins_name(b"q!"));
    }
}
