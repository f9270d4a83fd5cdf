//! What a random sequence is made of.
//!
//! Operations are intentions ("beat, but one number late"). Most are right, the others are near misses: wrong in
//! one thing, so that the one part of a condition that forbids them is the only one that can.

use baton_protocol::heartbeat::Health;
use baton_protocol::history::Ground;
use baton_protocol::mark::Mark;
use baton_protocol::request::Wish;

/// Something to do. Nodes and runs are numbered from 1 to 3.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Announce a run.
    Start {
        /// Whose.
        node: u8,
        /// After which run.
        after: After,
        /// The new run.
        run: u8,
    },
    /// Beat, so many numbers ahead.
    Beat {
        /// Who.
        node: u8,
        /// The run that beats, if it is not the one that stands.
        instead: Option<u8>,
        /// How far ahead of the stored number.
        ahead: i8,
        /// What it says of itself.
        health: Health,
        /// Whether it claims and serves.
        full: bool,
    },
    /// Release an epoch, so many after the lease's.
    Release {
        /// Who; none: the holder.
        node: Option<u8>,
        /// The run that releases, if it is not the one that stands.
        instead: Option<u8>,
        /// Which epoch, counted from the lease's.
        ahead: i8,
    },
    /// Grant the lease.
    Grant {
        /// To whom; none: to the holder itself.
        to: Option<u8>,
        /// Why.
        ground: Ground,
        /// What is checked of the holder.
        check: Check,
        /// What is wrong with it.
        wrong: Option<Wrong>,
    },
    /// Send an earlier grant again.
    Repeat {
        /// Which, counted from the last one.
        back: usize,
        /// Whether the token of its transaction has been forgotten, as after ten minutes.
        late: bool,
    },
    /// Record this mark of an address, of an epoch so many after the lease's.
    Rotate(i8, Mark),
    /// Record a move, and whether another look is due.
    Move {
        /// What is wrong with it.
        wrong: Option<WrongMove>,
        /// Whether another look is due.
        verify: bool,
    },
    /// Append a row of this number.
    Append(u8),
    /// Ask for something under the id of this number.
    Ask(u8, Wish),
    /// Ask under the id of this number for a failback to a node, decided at an epoch so many after the lease's.
    Failback {
        /// The number of its id.
        id: u8,
        /// To which node.
        to: u8,
        /// Which epoch, counted from the lease's.
        ahead: i8,
    },
    /// Ask for an exclusion in the place of the one that stands, or of the one with the id of another number.
    Exclude {
        /// The number of its own id.
        id: u8,
        /// Of which node.
        whose: u8,
        /// Whether it is asked to hand over as well.
        hand_over: bool,
        /// Whether what the replaced one has asked of its node is taken back as well.
        withdraws: bool,
        /// The other number.
        instead: Option<u8>,
    },
    /// Ask for the end of the exclusion that stands, or of the one with the id of another number.
    Include {
        /// The number of its own id.
        id: u8,
        /// Whether what was asked of the node is taken back as well.
        withdraws: bool,
        /// The other number.
        instead: Option<u8>,
    },
    /// Answer the request of this number.
    Answer(u8),
    /// End the word of this number that a node be stopped; none: the one that stands.
    EndFence(Option<u8>),
    /// One of the registrar's.
    Registrar(Change),
    /// One of the registrar's, or a request, with others between its reading and its writing.
    Between(Change, Vec<Self>),
    /// Leave a wake.
    Wake(u8),
    /// Lose a heartbeat.
    Lose(u8),
}

/// What is written after something was read: what the registrar does, and what takes the place of another wish.
#[derive(Debug, Clone)]
pub enum Change {
    /// Ask for something under the id of this number.
    Ask(u8, Wish),
    /// Register under the uid of this number.
    Register(u8),
    /// Change a registration.
    Reconfigure {
        /// The uid's number, if it is not the one that stands.
        instead: Option<u8>,
        /// Whether the holder is named rightly.
        right_holder: bool,
        /// How many nodes it has.
        members: u8,
        /// Whether the revision that it was made from is the one that stands; none: it was made from no other.
        made_from: Option<bool>,
    },
    /// Retire a registration; the uid's number, if it is not the one that stands.
    Retire(Option<u8>),
}

/// Which run a start follows.
#[derive(Debug, Clone, Copy)]
pub enum After {
    /// The one that stands, or none.
    Standing,
    /// This one.
    Run(u8),
    /// None, whatever stands.
    Nobody,
}

/// Which check a grant makes.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// That the holder has written nothing since.
    Unchanged,
    /// That it released.
    Released,
    /// That it never beat.
    Absent,
}

/// What is wrong with a grant.
#[derive(Debug, Clone, Copy)]
pub enum Wrong {
    /// The uid.
    Uid,
    /// The epoch.
    Epoch,
    /// The holder.
    Holder,
    /// The revision of the configuration.
    Revision,
    /// The wish: none where one stands, and one where none does.
    Wish,
    /// The holder's number.
    Seq,
    /// The holder's run.
    Incarnation,
    /// The candidate's run.
    Candidate,
}

/// What is wrong with a move.
#[derive(Debug, Clone, Copy)]
pub enum WrongMove {
    /// The epoch, by so many.
    Epoch(i8),
    /// The revision of the configuration.
    Revision,
    /// What was recorded as moved when it began.
    Before,
    /// The look that was arranged when it began.
    Due,
    /// That one was.
    NoneDue,
}
