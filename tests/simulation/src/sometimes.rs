//! What must have been seen. A simulator that finds nothing wrong may be looking at nothing; so every situation that the
//! protocol has a rule for is named, and a batch of runs in which one of them never came up has failed.

macro_rules! sometimes {
    ($($name:ident $text:literal;)*) => {
        /// A situation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Sometimes { $(#[doc = $text] $name),* }

        impl Sometimes {
            /// Every one, with its name.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

sometimes! {
    GrantOnVacancy "a grant on vacancy";
    GrantOnRelease "a grant on release";
    GrantOnSilence "a grant on silence";
    GrantOnGone "a grant because EC2 says terminated";
    GrantToReleaser "a grant to the very node that released";
    ResumeAfterFence "a resumption in the same epoch after a self-fence";
    Adoption "a service adopted by a new run of the agent";
    TooLateToAdopt "a service found too late to be adopted";
    DeadManFired "a service stopped by the dead-man";
    DemoteOverrun "a demote that hung and was cut short by the dead-man";
    PromoteFailed "a promote hook that failed";
    GuardRefused "a promote refused because no dead-man stood";
    FencedAfterSuspend "a service fenced because its validity ended during a suspension";
    HiddenPauseWhileServing "a hidden pause of a machine that serves";
    Usurped "an agent that found its item taken over or gone";
    BeatUnknownApplied "a heartbeat that was applied and whose answer was lost";
    BeatUnknownLost "a heartbeat that was lost";
    BeatConflict "a heartbeat that met a transaction";
    BeatThrottled "a heartbeat that was throttled";
    LateBeatRefused "a late heartbeat refused by its condition";
    LateReleaseRefused "a late release refused by its condition";
    LateStartRefused "a late start refused by its condition";
    OathRepeated "an oath written again because its outcome was unknown";
    ReadAlong "heartbeats that were read along with the lease";
    SilenceRestarted "a silence that began again after failed reads";
    ClaimWithdrawn "a claim withdrawn because the holder beat again";
    CommitUnknownApplied "a commit that was applied and whose answer was lost";
    CommitUnknownLost "a commit that was lost";
    CommitConflict "a commit that met another transaction";
    CommitSuperseded "a commit that lost to another";
    WishCameBetween "a commit refused only because the wish in the lease was another by then";
    LookedAgain "a candidate asked for a second sign of life";
    NoCandidate "a ground, and nobody who could take over";
    PausedSilence "a silence held back by a pause";
    HeldSilence "a silence left to an operator";
    Braked "a takeover that waits because many clusters suspect their holders, or nobody can tell";
    AfterTheBrake "a takeover on silence while many clusters suspect their holders";
    Excluded "an exclusion of a standby";
    Drained "a drain of the holder";
    ExcludedPassedOver "a grant past a node that is excluded";
    FailbackAsked "a failback that was asked for because it was due";
    FailbackRefused "a failback refused because of another wish or a pause";
    FailedBack "a lease that has gone back to a preferred node by itself";
    FailoverAsked "an operator's word about a silent holder";
    GrantDuringPause "a released lease granted during a pause";
    IntentObeyed "an intent obeyed";
    IntentIgnored "an intent that ended unobeyed";
    RequestAnswered "a request answered by a grant";
    RequestReplaced "a request that another one takes the place of before anything came of it";
    TwoInvocations "two invocations for the cluster at once";
    InvocationKilled "an invocation killed before its end";
    KilledAfterCommit "an invocation killed after its commit and before its move was done";
    HandedOn "an invocation that handed on";
    LateWake "a wake that came more than 30 s late";
    RepeatedWake "an event delivered twice";
    StreamWake "an invocation by the table's stream";
    SweepWake "an invocation by the sweep";
    TurnWake "an invocation because it was the cluster's turn";
    LookedInVain "an invocation that looked for a drift and found none";
    Drifted "a resource moved by somebody else";
    Repaired "a drift put right";
    MoveSuperseded "a move that found another epoch in the lease";
    PartialMove "some resources at the new holder and others not";
    CallThrottled "a call to EC2 throttled";
    CallUnknownApplied "a call to EC2 done with its answer lost";
    LateCallRefused "a call of an older epoch that landed late and was refused";
    LateCallDone "a call that landed late and changed something";
    RouteTakenBack "a route taken back by a late call";
    RoutePutRight "a route put right by a later look";
    SubnetSwapped "a subnet's route table swapped";
    SubnetLedAway "a subnet led into a table that is none of the prepared";
    StaleLook "a look answered from the past";
    Rotation "an address rotated after an unfinished move";
    MarkRefused "a mark refused because another invocation has set one";
    SeatRefused "a foreign address found in the seat and left there";
    AvailableServesOn "an available node that serves through an outage of the table";
    AvailableOverlap "two available nodes serving for a moment";
    TimingLowered "a timing lowered while a node serves";
    TimingRaised "a timing raised while a node serves";
    RetiredServesOn "a service that goes on after the cluster was retired";
    RegisteredAgain "a retired cluster registered again";
    MemberReplaced "a terminated member replaced by another instance";
    StoppedBefore "a silent holder stopped before it was taken over from";
    FenceLifted "a takeover without a fence, on an operator's word";
    FenceUnseen "a stop that an invocation has not seen done in time";
    FenceAsked "a node that an operator wants to be stopped";
    Joined "an instance with the tag that became a member";
    RetiredMember "a terminated member retired by the arbiter";
    NobodyShown "a look of EC2's at the tag that showed nobody";
    NewMemberHolds "a replaced member that holds the lease";
}

/// What has been seen, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen(u128);

const _: () = assert!(Sometimes::ALL.len() <= 128);

impl Seen {
    /// Notes one.
    pub fn note(&mut self, what: Sometimes) {
        self.0 |= 1 << what as u32;
    }

    /// Everything that either has seen.
    pub fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The names of those that have not been seen.
    pub fn missed(self) -> Vec<&'static str> {
        Sometimes::ALL
            .iter()
            .filter(|(what, _)| self.0 & (1 << *what as u32) == 0)
            .map(|(_, text)| *text)
            .collect()
    }
}
