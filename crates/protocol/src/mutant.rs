//! Deliberate faults, one for each condition that safety or liveness rests on.
//!
//! A test that has never failed proves little. Each fault takes one condition out of the code that ships, and the
//! simulator has to notice: `cargo xtask sim --mutants`. They exist only with the feature `mutants`, which cannot be
//! compiled into a release build, and there one at a time is switched on for the whole process. Without the feature
//! `mutant!(Name)` is the constant `false`.

/// Whether this fault is switched on; the constant `false` in every build that ships.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::OFF
    };
}

/// What every fault is where there are none.
#[cfg(not(feature = "mutants"))]
pub const OFF: bool = false;

/// Whether this fault is switched on.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::Mutant::$name.is_on()
    };
}

#[cfg(feature = "mutants")]
pub use registry::*;

#[cfg(feature = "mutants")]
mod registry {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Names the faults: a variant, the id under which documents speak of it, and what is wrong then.
    macro_rules! mutants {
        ($($name:ident $id:literal $what:literal;)*) => {
            /// A condition that is taken out.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Mutant { $(#[doc = $what] $name),* }

            impl Mutant {
                /// Every one, in the order of the documents.
                pub const ALL: &'static [Self] = &[$(Self::$name),*];

                /// The id, as `docs/PROTOCOL.md` lists it.
                pub fn id(self) -> &'static str {
                    match self { $(Self::$name => $id),* }
                }

                /// What is wrong while it is switched on.
                pub fn what(self) -> &'static str {
                    match self { $(Self::$name => $what),* }
                }
            }
        };
    }

    mutants! {
        CommitWithoutSeq "m01" "the commit does not compare the holder's heartbeat";
        CommitWithoutEpoch "m02" "the commit does not compare epoch and holder";
        ReadBeforeWrite "m03" "the lease is read before the heartbeat is written";
        ValidityFromReply "m04" "validity counts from the heartbeat's reply";
        SilenceIsValidity "m05" "S is TTL";
        NoDeadMan "m06" "nothing below the agent stops the service";
        MonotonicClock "m07" "time stands still while the machine is suspended";
        SeqReset "m08" "a new run starts its numbers again";
        Reassociate "m09" "an address is taken from whoever has it";
        EndWhatever "m10" "whatever association an address has is ended";
        ResumeOnRead "m11" "a fenced node resumes on a read of the lease alone";
        ExtendOnUnknown "m12" "a heartbeat whose outcome is unknown extends validity";
        CountBlindness "m13" "silence is counted across failed reads";
        ReleaseBeforeDemote "m14" "the oath is written before the service is down";
        StoppedIsGone "m15" "an instance that EC2 calls stopped counts as gone";
        StaleRead "m16" "the lease is read eventually consistent";
        LatePromote "m17" "a promote does not look whether validity has ended";
        ServeAtBoot "m18" "a boot serves by what the boot before it kept";
        SilenceFromRequest "m19" "silence counts from before the reply that showed the heartbeat";
        NoGuard "m20" "calls to EC2 are made without a fresh sight of the lease";
        NoRotation "m21" "an address in place after an unfinished move keeps its association";
        Limbo "m22" "a fenced holder neither resumes nor releases";
        ConflictIsRefusal "m23a" "an agent takes a transaction conflict for a refusal";
        ConflictIsSuccess "m23b" "the arbiter takes a transaction conflict for a commit";
        TokenReused "m24a" "a commit's token is used again for the next epoch";
        TokenAbsent "m24b" "a repeated commit is not known for a repeat";
        CandidateUnchecked "m25a" "the commit does not compare the candidate's heartbeat";
        CandidateNotAlive "m25b" "a candidate need not be seen beating";
        OwnValidity "m26" "a standby takes S from the lease's timing, not from what the holder published";
        AvailableFences "m28a" "an available node fences when the table cannot be reached";
        StrictServesOn "m28b" "a strict node serves on when its validity ends";
        MovedUnverified "m29a" "a move is recorded without having been seen";
        MovedOfOlderEpoch "m29b" "a move of an older epoch is recorded";
        ReleaseWithoutIncarnation "d01" "a release is written whatever run the item belongs to";
        StartWithoutCompare "d02" "a run is announced without compare-and-swap";
        ValidityFromLease "d03" "validity is the lease's and not that of the same write";
        ClaimWithoutIncarnation "d04" "claims and commits compare the number without the incarnation";
        EpochReset "d05" "the epoch starts again when a cluster is registered again";
        Evict "d06" "a foreign address is evicted from the seat";
        RotateAlways "d07" "an address is rotated on every resumption of a move";
        PauseHoldsRelease "d08" "a pause holds back a released lease";
        BeatWithoutOrder "d09" "a heartbeat is written whatever number is stored";
        BeatWithoutIncarnation "d10" "a heartbeat is written whatever run the item belongs to";
        OathForgotten "d11" "an oath whose outcome is unknown is forgotten";
        ObeyBlindly "d12" "an intent is obeyed whatever its epoch and end, and its target unseen";
        ReleaserExcluded "d13" "the node that released is no candidate";
        OathUnread "d14" "a new run does not read the oath back";
        RetiredFences "d15" "a retired cluster's holder stops its service";
        PauseReleases "d16" "a holder in bad health releases during a pause";
        UnguardedUntold "d18" "a node does not say that nothing guards its service";
        CommitAnyRevision "d19" "the commit does not compare the configuration";
        ShrinkingValidity "d17" "a heartbeat publishes less than its node may still serve";
        AdoptExpired "s01" "a service is adopted whose validity has ended";
        DeposedServesOn "s02" "a holder that reads another holder serves on";
        DisarmEarly "s04" "the dead-man is disarmed before the demote is done";
        UsurpedServesOn "s05" "a run whose item belongs to another serves on";
        PauseIgnored "s06" "silence is granted during a pause";
        PolicyIgnored "s35" "silence is granted against the cluster's policy";
        ExcludedIsCandidate "s39" "a node that an operator has excluded is granted the lease";
        CoolDownIgnored "s38" "silence is granted again before the cool-down is over";
        FenceSkipped "s41" "a silent holder is not stopped although its cluster asks for that";
        FenceUnconfirmed "s42" "a stop that EC2 was asked for counts as done";
        StoppingIsStopped "s43" "an instance that is being stopped counts as stopped";
        PolicyHoldsRelease "s36" "a policy holds back a released lease";
        AnswerOverwritten "s64" "an answer to a request takes the place of another one";
        ReplacedUntold "s65" "a request that another one takes the place of in the lease is not answered";
        ReplacedAnswersAgain "s66" "that another one takes its place is an answer to a request that has one";
        CommitAnyWish "s67" "the commit does not compare the wish that it takes out of the lease";
        FailoverObeyed "s37" "a holder hands over for an operator's word about a silent one";
        EndUnseen "s07" "an association that a look has shown is ended without another sight of the lease";
        MovedOfOtherRevision "s09" "a move of another configuration is recorded";
        GrantRetired "s10" "a retired lease is granted";
        NotFoundIsGone "s11" "an instance that EC2 does not find counts as gone";
        OathNotKept "s12" "the oath is not kept for the next run of the same boot";
        PromoteOnce "s13" "a new epoch is served without a new promote";
        ServeUnguarded "s15" "a strict service starts though no dead-man stands";
        AnyHealth "s17" "a candidate need not be healthy";
        SecondLookSkipped "s19" "nobody looks again after the last possible late call";
        BounceBack "s20" "the lease goes back to its releaser though another needed only a second look";
        LeaverIsAlive "s21" "a node that has released counts as alive by a heartbeat from before";
        EagerBack "s22" "a lease that goes back ends the associations that are in place";
        CountAbsence "s24" "a change seen after a gap in the reads counts as a sign of life";
        TrustOneLook "s25" "a move is recorded on one look of an invocation that has changed nothing";
        FreedUnrecorded "s26" "an address is associated without a mark";
        AnyClaim "s32" "a claim counts though it was made for a shorter silence";
        DriftIgnored "s29" "nobody looks for what somebody else has moved";
        AnyLookIsSecond "s30" "any look counts as the second";
        LookForgotten "s34" "a look is recorded though another has mended something since it began";
        GatewayTaken "s40" "a route is taken from a gateway though nobody has allowed it";
        AbsentRetired "s51" "a member that EC2 does not show at this moment is retired";
        HolderRetired "s52" "the holder is retired while it holds";
        JoinsUnasked "s53" "an instance joins though its owner has not named the cluster";
        SleeperJoins "s68" "an instance that can hibernate joins a strict cluster";
        MembersOfOtherRevision "s54" "members are changed though the lease is not the one that was judged";
        NoRound "s31" "the sweep has no turns";
        HoldIgnored "s44" "an automatic failback goes to a node that has only just got well";
        BrakeIgnored "s46" "silence is granted at once though many clusters suspect their holders";
        BrakeHoldsReleased "s47" "the brake holds back a released lease";
        WindowIgnored "s45" "an automatic failback is asked for outside its window";
        MarkUnconfirmed "s28" "a mark counts though it could not be recorded";
        RecoverStopped "s58" "local recovery is tried where the node may not serve";
        SwapCountsAtOnce "s55" "a subnet's table that is in place counts whoever has put it there";
        SwapUnseen "s56" "a subnet's association that a look has shown is replaced without another sight of the lease";
        ForeignTableTaken "s57" "a subnet is taken from a table that is none of the prepared";
        AddressesAnywhere "s61" "virtual addresses are put back where the node may not serve";
        MarkOverwritten "s23" "a mark takes the place of another invocation's";
    }

    /// The position in [`Mutant::ALL`] of the one that is switched on, plus one; zero: none.
    static ON: AtomicUsize = AtomicUsize::new(0);

    impl Mutant {
        /// Whether it is switched on.
        pub fn is_on(self) -> bool {
            ON.load(Ordering::Relaxed) == self as usize + 1
        }

        /// Switches this one on in the whole process, and any other off.
        pub fn switch_on(self) {
            ON.store(self as usize + 1, Ordering::Relaxed);
        }

        /// Switches off whichever is on.
        pub fn switch_off() {
            ON.store(0, Ordering::Relaxed);
        }

        /// The one with this id.
        pub fn by_id(id: &str) -> Option<Self> {
            Self::ALL.iter().copied().find(|mutant| mutant.id() == id)
        }
    }
}
