//! Every condition under which Baton writes, and why.
//!
//! The safety of the protocol is in these texts: whatever a program believes, the table applies its write
//! only if one of them holds at that instant. Attributes are written as `#name` throughout, since many of
//! their names are reserved words of DynamoDB, and values as `:name`.

/// There is no such item. For rows that are written once, and for a node's first heartbeat.
pub const ABSENT: &str = "attribute_not_exists(#pk)";

/// There is such an item. An update would otherwise make one that has nothing but the updated attribute.
pub const EXISTS: &str = "attribute_exists(#pk)";

/// A new run of an agent follows the very run it read. A start that was sent by an earlier run and arrives
/// late would otherwise bring that run's incarnation back, and with it the right to its late releases.
pub const START_AFTER: &str = "#incarnation = :as_read";

/// W. Only the current run may beat, and only forwards: a late heartbeat of the same run must not bring back
/// an older health, claim or validity.
pub const BEAT: &str = "#incarnation = :mine AND #seq < :seq";

/// Only the current run may release, since a release that an earlier run sent says nothing about what the
/// current one serves. Never backwards: an oath is not taken back.
pub const RELEASE: &str =
    "#incarnation = :mine AND (attribute_not_exists(#released) OR #released < :released)";

/// The lease is the one the decision was made on. The uid keeps a decision from reaching a registration that
/// came later, the epoch keeps every earlier decision out, and the revision a decision that knew other members or
/// another mode.
pub const LEASE_AS_READ: &str =
    "#uid = :uid AND #epoch = :epoch AND #holder = :holder AND #state = :active AND #revision = :revision";

/// No pause holds at the moment of the decision. Only for grants that yield to a pause.
pub const NOT_PAUSED: &str = "(attribute_not_exists(#paused) OR #paused.#until <= :at)";

/// No operator has excluded the node that the lease goes to. Not for one that gets its own lease back.
pub const NOT_EXCLUDED: &str =
    "(attribute_not_exists(#excluded) OR #excluded.#node <> :to OR #excluded.#until <= :at)";

/// No exclusion has been written since none was seen. One that somebody else has written meanwhile is not replaced unseen.
pub const NONE_EXCLUDED: &str = "attribute_not_exists(#excluded)";

/// The exclusion is still the one that was seen and is to be replaced, be it that it has ended by itself.
pub const EXCLUDED_AS_READ: &str = "#excluded.#request = :replaces";

/// The exclusion is still the one that is to be ended.
pub const EXCLUDED_BY: &str = "#excluded.#request = :exclusion";

/// The intent is still the one that was written with the exclusion that ends or is replaced: by then it may be another's.
pub const DRAINED_BY: &str = "#intent.#request = :exclusion";

/// The word that a node be stopped is still the one that was obeyed or refused: another may have taken its place.
pub const FENCE_ASKED_BY: &str = "#fence.#request = :request";

/// The request has no answer yet, or this very one. What somebody has been told stands: two invocations may find different ends of
/// one wish, and whoever has read the first would not learn of the second.
pub const UNANSWERED: &str = "(attribute_not_exists(#request.#answer) OR #request.#answer = :answer)";

/// The wish that goes from the lease is still the one that was seen, and is answered: by the write of another wish in the same
/// transaction, and by whoever made a grant after it. Whoever asked for one that came in between would wait for it in vain.
pub const INTENT_AS_READ: &str = "#intent.#request = :standing";

/// The same where no request stood behind an intent, or there was none.
pub const INTENT_OF_NOBODY: &str =
    "(attribute_not_exists(#intent) OR attribute_not_exists(#intent.#request))";

/// The same of a word that a node be stopped.
pub const FENCE_AS_READ: &str = "#fence.#request = :standing";

/// The same where there was none.
pub const NO_FENCE: &str = "attribute_not_exists(#fence)";

/// The same of a word that the table was restored.
pub const RESTORE_AS_READ: &str = "#restore.#request = :standing";

/// The same where there was none.
pub const NO_RESTORE: &str = "attribute_not_exists(#restore)";

/// Nobody has asked for a hand-over, or for a takeover, since none was seen. What the arbiter wishes by itself takes the place
/// of no operator's word.
pub const NOTHING_ASKED: &str =
    "(attribute_not_exists(#intent) OR #intent.#epoch <> :epoch OR #intent.#until <= :at)";

/// The cluster is not retired.
pub const ACTIVE: &str = "#state = :active";

/// The holder has beaten no more since it was read. The incarnation is compared as well, because an item that
/// was lost and made anew counts from the beginning and would pass the same number again.
pub const HOLDER_UNCHANGED: &str = "#incarnation = :holder_incarnation AND #seq = :holder_seq";

/// The holder swore never to serve the epoch again. What it writes afterwards cannot take that back.
pub const HOLDER_RELEASED: &str = "#released >= :released";

/// The candidate is the run that was looked at, and still calls itself healthy.
pub const CANDIDATE: &str = "#incarnation = :to_incarnation AND #health = :ok";

/// The epoch is still the one the work was done for.
pub const EPOCH_CURRENT: &str = "#epoch = :epoch";

/// The epoch is still that one and has marked the address with nothing yet: what one invocation ends there, another of the
/// same epoch may have found and counted, so they must not differ.
pub const UNMARKED: &str = "#epoch = :epoch AND attribute_not_exists(#rotated.#allocation)";

/// The move that was completed is still the one to complete: of this epoch, of this configuration, and recorded by nobody.
pub const MOVE_CURRENT: &str =
    "#epoch = :epoch AND #revision = :revision AND #moved = :before AND attribute_not_exists(#verify_at)";

/// The same where a further look was arranged: nobody has looked since, and mended something that is to be looked at again.
pub const LOOK_CURRENT: &str =
    "#epoch = :epoch AND #revision = :revision AND #moved = :before AND #verify_at = :due";

/// The retired lease is the one that was read, so its epoch continues exactly once, and a move that was recorded meanwhile
/// is not taken back.
pub const RETIRED_AS_READ: &str = "#uid = :was_uid AND #state = :retired AND #epoch = :was_epoch AND #revision = :was_revision \
     AND #moved = :was_moved";

/// The registration, its holder and its epoch are the ones that the change was checked against: a holder that
/// came in between must not be taken out of the members, nor a move that was recorded in between be taken back.
pub const REGISTERED_AS_READ: &str = "#uid = :uid AND #state = :active AND #holder = :holder \
     AND #epoch = :epoch AND #revision = :was_revision AND #moved = :was_moved";

/// A deletion reaches only the registration it was asked for: after a replacement the older stack's request
/// to delete must find nothing to do.
pub const UID_ACTIVE: &str = "#uid = :uid AND #state = :active";

/// The attributes an agent writes in its heartbeat or its wake item; the allow-list of a node's policy.
pub const AGENT_ATTRIBUTES: &[&str] = &[
    "pk",
    "sk",
    "incarnation",
    "seq",
    "boot_id",
    "health",
    "healthy_since",
    "released",
    "claim",
    "serving_epoch",
    "serving_since",
    "ahead",
    "findings",
    "validity_ms",
    "seen",
    "beat_at",
    "agent_version",
    "schema",
    "why",
    "at",
];

/// The attributes an operator writes; the allow-list of the operators' policy.
pub const OPERATOR_ATTRIBUTES: &[&str] =
    &["pk", "sk", "excluded", "fence", "intent", "paused", "request", "restore"];
