//! The promises, as sentences. What finds them broken is in `watch`, `watch/cloud.rs` and `verdict`; each finding names the
//! promise by its id.

/// A promise that is looked at all the time.
pub const INVARIANTS: &[(&str, &str)] = &[
    ("I1", "In strict mode at most one node serves, or has the virtual addresses, at any moment."),
    (
        "I2",
        "The epoch grows by one with each grant and each registration, never goes back, and the holder changes only with it.",
    ),
    (
        "I3",
        "The ground of a grant was true when it was committed: on silence the last heartbeat is older than its holder may serve, on release nothing serves and the oath is there, on gone the instance is terminated, on vacancy there is no holder.",
    ),
    (
        "I4",
        "A service starts only after a confirmed heartbeat of that node and a later read of the lease that names it at that epoch.",
    ),
    (
        "I5",
        "An oath is written only while nothing serves, and an epoch that was sworn off is not served again.",
    ),
    ("I6", "Promote and demote alternate, and every promote belongs to a grant."),
    (
        "I7",
        "Once a move was recorded no call takes an address from the holder while the lease is his; every call follows a sight of the lease no older than 500 ms, and leads to the holder that was seen.",
    ),
    ("I8", "In available mode no service is stopped because the table cannot be reached."),
    ("I9", "No grant on silence rests on fewer than three good reads by the one who claims it."),
    (
        "I10",
        "A node's heartbeat is written by its current run only, its number only grows, and no write of a node changes the lease.",
    ),
    (
        "I11",
        "An address that sits where one of the cluster belongs, and is not of the cluster, is never evicted.",
    ),
    (
        "I12",
        "A move is recorded only when every resource is at the holder, but for a route that was led to a gateway, and under the configuration it was made for.",
    ),
    (
        "I13",
        "An association that is in place is not ended, unless an earlier move was never completed, and then once in an epoch.",
    ),
    ("I14", "During a pause nothing is granted on silence, and no holder releases for its health."),
    ("I15", "A retirement stops no service, and a retired lease is not granted."),
    ("I16", "An intent is obeyed only at its epoch, before its end, and while its target is seen beating."),
    ("I17", "A lease is granted only to a run that is healthy, the very one that was looked at, and alive."),
    (
        "I18",
        "Where a policy leaves a silent holder to an operator, nothing is granted on silence without that operator's word, the end of the wait or that of the cool-down.",
    ),
    ("I19", "A node that is excluded is granted nothing but its own lease back."),
    ("I20", "A route that leads to a gateway is taken from there only where that is allowed."),
    (
        "I21",
        "Where a cluster asks for a fence, nothing is granted on silence before the holder's instance was stopped or terminated, since it was last heard of, but on an operator's word.",
    ),
    (
        "I22",
        "A failback that nobody has asked for is wished for only where that is chosen, within its window, to a node that is preferred to the holder and has been healthy for the time it has to be, and takes the place of no other wish.",
    ),
    (
        "I26",
        "Once a move was recorded no call takes a subnet from the holder's route table while the lease is his, and none ever takes it from a table that is none of the prepared.",
    ),
    ("I28", "What a request of an operator was answered with stands."),
    ("I29", "A request that another one takes the place of in the lease is answered by then."),
    (
        "I23",
        "While many clusters suspect their holders, nothing is granted on silence without a silence of twice S or an operator's word.",
    ),
    (
        "I25",
        "Where a tag names the nodes, only an instance whose owner has named the cluster joins, in strict mode none that can hibernate, only one that is terminated is retired, never the holder, and only as the lease was judged.",
    ),
];

/// A promise about what comes in the end.
pub const LIVENESS: &[(&str, &str)] = &[
    (
        "L1",
        "Within 40 s after the last fault has ended exactly one node serves, and it is the holder; within 130 s, if the holder was terminated and nothing told so. A pause counts as a fault, here and in L2 to L5, until it is over by its holder's clock.",
    ),
    (
        "L2",
        "Within 100 s after the last fault has ended, and after a grant that follows it, every address is at the holder, and within 180 s every route; within 200 s, if somebody else has moved one and nothing told so.",
    ),
    (
        "L3",
        "Within 200 s after the last fault has ended, and after a grant that follows it, the move is recorded for the current epoch.",
    ),
    ("L4", "Every grant has a cause: a fault that struck its holder, or somebody's wish."),
    (
        "L5",
        "A holder that nothing has struck keeps the lease, whatever befalls others, but for a failback that is due.",
    ),
    ("L6", "An invocation that has granted answers the request whose wish that takes from the lease."),
    (
        "L7",
        "An agent takes its item for another run's only if it is, and ends only when nothing of it serves.",
    ),
    (
        "L9",
        "A released lease goes back to its releaser only if nobody else has been well and beating for 6 s; and is not held back by a pause, nor kept from the releaser when nobody else can serve.",
    ),
    (
        "L8",
        "A completed move is looked at once more after the last moment at which a late call may land, and no look before that takes its place.",
    ),
];

/// The sentence of a promise.
pub fn sentence(id: &str) -> &'static str {
    INVARIANTS
        .iter()
        .chain(LIVENESS)
        .find(|(known, _)| *known == id)
        .map_or("an unlisted promise", |(_, text)| text)
}
