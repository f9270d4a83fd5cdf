//! Names and identities, each parsed once into a type that cannot hold anything else.
//!
//! Everything here arrives from outside: the table, events, instance metadata, configuration. A name that does not fit
//! its pattern is refused at the door with what was expected and what was found, so no later code checks again. Every
//! snapshot, decision and command carries names, so a clone of one shares its text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that does not fit the pattern of the identity it was given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct IdError {
    /// The pattern, in words.
    pub expected: &'static str,
    /// The text that was refused, cut to 80 characters.
    pub found: String,
}

impl IdError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.chars().take(80).collect() }
    }
}

/// Defines a text newtype with its pattern, its description and the conversions every identity has.
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text; the only way in.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text.into())) } else { Err(IdError::new($expected, &text)) }
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// `prefix` followed by 8 or 17 lower-case hexadecimal digits, as every EC2 resource id is.
pub(crate) fn ec2_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (rest.len() == 8 || rest.len() == 17)
            && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn words(text: &str, longest: usize) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=longest).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(inner)
        && !text.ends_with('-')
}

fn token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

identity!(
    /// The name of a cluster: part of table keys, policies and event details, so it is short and plain.
    ClusterName,
    "a cluster name: 1 to 40 of a-z, 0-9 and `-`, starting with a letter, not ending with `-`",
    |t| words(t, 40)
);
identity!(
    /// The stable name an operator gives a node; the instance behind it may be replaced.
    NodeName,
    "a node name: 1 to 40 of a-z, 0-9 and `-`, starting with a letter, not ending with `-`",
    |t| words(t, 40)
);
identity!(
    /// An EC2 instance id.
    InstanceId,
    "an instance id: `i-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "i-")
);
identity!(
    /// The id under which an Elastic IP is allocated to the account.
    AllocationId,
    "an allocation id: `eipalloc-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "eipalloc-")
);
identity!(
    /// The id of one association of an Elastic IP. EC2 gives a new one each time, which is what makes
    /// `DisassociateAddress` a compare-and-swap.
    AssociationId,
    "an association id: `eipassoc-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "eipassoc-")
);
identity!(
    /// The id of an elastic network interface.
    InterfaceId,
    "a network interface id: `eni-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "eni-")
);
identity!(
    /// The id of a VPC route table.
    RouteTableId,
    "a route table id: `rtb-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "rtb-")
);
identity!(
    /// The id of a VPC subnet.
    SubnetId,
    "a subnet id: `subnet-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "subnet-")
);
identity!(
    /// The id of one association of a subnet with a route table. EC2 gives a new one each time the table is replaced, which
    /// is what makes `ReplaceRouteTableAssociation` a compare-and-swap.
    TableAssociationId,
    "a route table association id: `rtbassoc-` and 8 or 17 hexadecimal digits",
    |t| ec2_id(t, "rtbassoc-")
);
identity!(
    /// Chosen anew at each start of an agent, so that writes of an earlier run can be told from its own.
    Incarnation,
    "an incarnation: 1 to 64 letters, digits and `-`",
    token
);
identity!(
    /// Chosen anew at each registration of a cluster. A request to delete acts only if it carries the same one.
    RegistrationUid,
    "a registration uid: 1 to 64 letters, digits and `-`",
    token
);
identity!(
    /// The id of an operator's request.
    RequestId,
    "a request id: 1 to 64 letters, digits and `-`",
    token
);

identity!(
    /// An instance's ARN, the identity IAM knows it by (`ec2:SourceInstanceARN`).
    InstanceArn,
    "an instance ARN: `arn:PARTITION:ec2:REGION:ACCOUNT:instance/i-…`",
    arn
);

fn arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let plain = |part: &str| {
        (1..=32).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    parts.len() == 6
        && parts[0] == "arn"
        && plain(parts[1])
        && parts[2] == "ec2"
        && plain(parts[3])
        && parts[4].len() == 12
        && parts[4].bytes().all(|b| b.is_ascii_digit())
        && parts[5].strip_prefix("instance/").is_some_and(|id| ec2_id(id, "i-"))
}

impl InstanceArn {
    /// The ARN of an instance in a partition, region and account.
    pub fn of(partition: &str, region: &str, account: &str, id: &InstanceId) -> Result<Self, IdError> {
        Self::new(format!("arn:{partition}:ec2:{region}:{account}:instance/{id}"))
    }

    /// The instance id at the end of the ARN.
    pub fn instance_id(&self) -> InstanceId {
        let id = self.0.rsplit('/').next().unwrap_or_default();
        InstanceId(id.into())
    }
}

identity!(
    /// The ARN of an IAM role, of whichever account.
    RoleArn,
    "a role ARN: `arn:PARTITION:iam::ACCOUNT:role/NAME`, in aws, aws-cn or aws-us-gov, an account of 12 digits, path and name of \
     at most 512 characters, the name of at most 64",
    role
);

/// IAM's own bounds: 512 characters for a path, of which `!` to `~`, and 64 for a name; here 512 for both together.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html>
fn role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let Some(named) = resource.strip_prefix("role/") else { return false };
    let (path, name) = named.rsplit_once('/').unwrap_or(("", named));
    let of_a_name = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    arn == "arn"
        && matches!(partition, "aws" | "aws-cn" | "aws-us-gov")
        && (service, region) == ("iam", "")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && named.len() <= 512
        // A star would be a pattern in a policy and is nobody's name.
        && path.bytes().all(|b| b.is_ascii_graphic() && !b"*?".contains(&b))
        && !named.starts_with('/')
        && (1..=64).contains(&name.len())
        && name.bytes().all(of_a_name)
}

impl RoleArn {
    /// The account that the role is of: 12 digits.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }
}

/// The fencing token: grows by one with each grant and is never reset, not even when a cluster is deleted and
/// registered again. Zero means "never granted".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The last that there is, 2^53 - 1: the greatest that a reader of JSON takes for itself and no other number, whatever it is
    /// written in. A grant each millisecond would need 285,000 years to come to it, so one beyond it was made up. At the last
    /// one nothing is granted any more.
    pub const LAST: Self = Self((1 << 53) - 1);

    /// The epoch of the next grant.
    pub fn next(self) -> Self {
        self.later(1)
    }

    /// The epoch so many grants later, and the last at most.
    pub(crate) fn later(self, by: u64) -> Self {
        Self(self.0.saturating_add(by).min(Self::LAST.0))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a heartbeat. Strictly grows for one node, over restarts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_to_the_last_and_never_begin_again() {
        assert_eq!(Epoch(7).next(), Epoch(8));
        assert_eq!(Epoch(Epoch::LAST.0 - 1).next(), Epoch::LAST);
        for end in [Epoch::LAST, Epoch(u64::MAX)] {
            assert_eq!(end.next(), Epoch::LAST);
        }
        assert_eq!(Epoch::LAST.0, 9_007_199_254_740_991);
    }

    #[test]
    fn a_cluster_name_is_short_and_plain() {
        for good in ["a", "orders", "nat-eu-1a", &"x".repeat(40)] {
            assert!(ClusterName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a#b", "1a", "a b", &"x".repeat(41)] {
            assert!(ClusterName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_instance_arn_yields_its_instance_id_in_every_partition() {
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let id = InstanceId::new("i-0123456789abcdef0").expect("valid");
            let arn = InstanceArn::of(partition, "eu-west-1", "123456789012", &id).expect("valid");
            assert_eq!(arn.instance_id(), id);
        }
        for bad in [
            "arn:aws:ec2:eu-west-1:123456789012:instance/i-xyz",
            "arn:aws:ec2:eu-west-1:12345678901:instance/i-01234567",
            "arn:aws:s3:eu-west-1:123456789012:instance/i-01234567",
            "arn:aws:ec2:eu-west-1:123456789012:instance/i-01234567:x",
            "arn:aws:ec2:eu#west:123456789012:instance/i-01234567",
        ] {
            assert!(InstanceArn::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_role_is_of_iam_in_a_known_partition_and_an_account_and_within_iams_bounds() {
        let long = |path: usize, name: usize| {
            format!("arn:aws:iam::210987654321:role/{}/{}", "p".repeat(path), "n".repeat(name))
        };
        for good in [
            "arn:aws:iam::210987654321:role/baton-route-tables-orders",
            "arn:aws-cn:iam::210987654321:role/net/work/r_+=,.@-1",
            "arn:aws-us-gov:iam::000000000000:role/r",
            "arn:aws:iam::210987654321:role/a:b/r",
            &long(447, 64),
        ] {
            let role = RoleArn::new(good).expect(good);
            assert_eq!((role.as_str(), role.account().len()), (good, 12));
        }
        assert_eq!(
            RoleArn::new("arn:aws:iam::210987654321:role/r").expect("valid").account(),
            "210987654321"
        );
        for bad in [
            "",
            "baton-route-tables-orders",
            "arn:aws:iam::210987654321:user/r",
            "arn:aws:iam::210987654321:role/",
            "arn:aws:iam::210987654321:role/path/",
            "arn:aws:iam::210987654321:role//r",
            "arn:aws:iam::210987654321:role/r*",
            "arn:aws:iam::210987654321:role/*/r",
            "arn:aws:iam::210987654321:role/a b",
            "arn:aws:iam::21098765432:role/r",
            "arn:aws:iam::2109876543x1:role/r",
            "arn:aws:iam:eu-west-1:210987654321:role/r",
            "arn:aws:sts::210987654321:assumed-role/r/s",
            "arn:aws-iso:iam::210987654321:role/r",
            "arn:aws:iam::210987654321:role/r\n",
            &long(448, 64),
            &long(1, 65),
        ] {
            assert!(RoleArn::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_names_what_was_expected_and_found() {
        let refusal = AllocationId::new("eip-1").expect_err("not an allocation id");
        assert_eq!(
            refusal.to_string(),
            "expected an allocation id: `eipalloc-` and 8 or 17 hexadecimal digits, found `eip-1`"
        );
    }

    #[test]
    fn an_incarnation_is_1_to_64_letters_digits_and_hyphens() {
        for good in ["a", "run-1", &"x".repeat(64)] {
            assert!(Incarnation::new(good).is_ok(), "{good}");
        }
        for bad in ["", "run 1", "run_1", &"x".repeat(65)] {
            assert!(Incarnation::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_has_8_or_17_digits_and_all_of_them_are_hexadecimal() {
        for good in ["i-01234567", "i-0123456789abcdef0"] {
            assert!(InstanceId::new(good).is_ok(), "{good}");
        }
        for bad in ["i-0123456", "i-0123456x", "i-0123456789abcdefx", "i-012345678", "01234567"] {
            assert!(InstanceId::new(bad).is_err(), "{bad}");
        }
    }
}
