//! Whose registration it is.
//!
//! The physical id of a registration is `<cluster>/<uid>`. The uid begins with a digest of the stack and the resource in
//! its template, and ends with the id of the request that created it. So a request that is delivered twice is one
//! registration, two stacks never have one, and a stack whose update to another cluster name is rolled back is known by
//! the cluster that it had before.

use std::fmt;

use baton_protocol::ids::{ClusterName, RegistrationUid};
use sha2::{Digest, Sha256};

/// So many hexadecimal digits tell one resource from another.
const OWNER_DIGITS: usize = 12;

/// What CloudFormation knows a registration by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalId {
    /// The cluster.
    pub cluster: ClusterName,
    /// The registration.
    pub uid: RegistrationUid,
}

impl PhysicalId {
    /// Reads a physical id. `None` for every other text, such as the id of a request that was never accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let (cluster, uid) = text.split_once('/')?;
        Some(Self { cluster: ClusterName::new(cluster).ok()?, uid: RegistrationUid::new(uid).ok()? })
    }

    /// The id of a request that named no cluster. It can be no registration's, since no cluster is called `-`.
    pub fn of_nothing(uid: &RegistrationUid) -> String {
        format!("-/{uid}")
    }
}

impl fmt::Display for PhysicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.uid)
    }
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// Of a stack and the resource's name in its template.
    pub fn of(stack_id: &str, logical_id: &str) -> Self {
        Self(digest(&format!("{stack_id}\n{logical_id}"))[..OWNER_DIGITS].to_owned())
    }

    /// The uid of the registration that this request of the resource makes.
    pub fn uid(&self, request_id: &str) -> Option<RegistrationUid> {
        let given = RegistrationUid::new(format!("{}-{request_id}", self.0));
        // CloudFormation sends a UUID. Anything else is digested, which keeps it distinct and fit to be an id.
        given.or_else(|_| RegistrationUid::new(format!("{}-{}", self.0, &digest(request_id)[..32]))).ok()
    }

    /// Whether the registration was made by this resource.
    pub fn made(&self, uid: &RegistrationUid) -> bool {
        uid.as_str().strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('-'))
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/orders/6f1c9a2e";
    const REQUEST: &str = "9a1c3c52-6c0b-4f0e-8d4e-2f6d2a1b7c11";

    #[test]
    fn a_repeated_request_is_the_same_registration_and_another_is_another() {
        let owner = Owner::of(STACK, "Registration");
        assert_eq!(owner.uid(REQUEST), owner.uid(REQUEST));
        assert_ne!(owner.uid(REQUEST), owner.uid("another"));
        assert_ne!(owner.uid(REQUEST), Owner::of(STACK, "Other").uid(REQUEST));
    }

    #[test]
    fn a_registration_is_known_by_the_resource_that_made_it() {
        let owner = Owner::of(STACK, "Registration");
        let uid = owner.uid(REQUEST).expect("a uid");
        assert!(uid.as_str().ends_with(REQUEST), "{uid}");
        assert!(owner.made(&uid));
        assert!(!Owner::of(STACK, "Other").made(&uid));
        assert!(!owner.made(&RegistrationUid::new("uid-1").expect("valid")));
    }

    #[test]
    fn an_odd_request_id_makes_a_uid_all_the_same() {
        let owner = Owner::of(STACK, "Registration");
        for odd in ["", "a/b", "ü", &"x".repeat(500)] {
            let uid = owner.uid(odd).expect(odd);
            assert!(owner.made(&uid), "{uid}");
        }
    }

    #[test]
    fn a_physical_id_is_read_back_and_every_other_text_is_none() {
        let uid = Owner::of(STACK, "Registration").uid(REQUEST).expect("a uid");
        let id = PhysicalId { cluster: ClusterName::new("orders").expect("valid"), uid: uid.clone() };
        assert_eq!(PhysicalId::parse(&id.to_string()), Some(id));
        for other in ["", "orders", "orders/", "/x", "Orders/x", "orders/a/b", &PhysicalId::of_nothing(&uid)]
        {
            assert_eq!(PhysicalId::parse(other), None, "{other}");
        }
    }
}
