//! The reasons of all Events, in one place: whoever reads Events looks them up, and the reference lists them.

/// Why an Event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventReason {
    /// BGP sessions came up.
    SessionEstablished,
    /// BGP sessions went down.
    SessionLost,
    /// A peer announces nearly as many prefixes as it may.
    NearMaxPrefixes,
    /// An object is refused, or something that it names is missing.
    ObjectRefused,
    /// An object names a Secret that is not there or holds no password.
    SecretMissing,
    /// An object that was refused is in force.
    ObjectAccepted,
    /// The kernel did not take a route.
    RouteInstallFailed,
    /// The agent started from the state file, without the API server.
    StartedFromState,
    /// NetworkUnavailable of the Node was True and was set to False.
    NetworkAvailable,
    /// A Service got load-balancer addresses.
    AddressAllocated,
    /// A Service has not all the load-balancer addresses it should have.
    AddressMissing,
    /// A `LoadBalancerPool` has no address left.
    PoolExhausted,
}

impl EventReason {
    /// All of them.
    pub const ALL: [EventReason; 12] = [
        EventReason::SessionEstablished,
        EventReason::SessionLost,
        EventReason::NearMaxPrefixes,
        EventReason::ObjectRefused,
        EventReason::SecretMissing,
        EventReason::ObjectAccepted,
        EventReason::RouteInstallFailed,
        EventReason::StartedFromState,
        EventReason::NetworkAvailable,
        EventReason::AddressAllocated,
        EventReason::AddressMissing,
        EventReason::PoolExhausted,
    ];

    /// As Events spell it. `AddressMissing` stands for the reasons of the Service's condition, which are told instead.
    pub fn as_str(self) -> &'static str {
        match self {
            EventReason::SessionEstablished => "SessionEstablished",
            EventReason::SessionLost => "SessionLost",
            EventReason::NearMaxPrefixes => "NearMaxPrefixes",
            EventReason::ObjectRefused => "ObjectRefused",
            EventReason::SecretMissing => "SecretMissing",
            EventReason::ObjectAccepted => "ObjectAccepted",
            EventReason::RouteInstallFailed => "RouteInstallFailed",
            EventReason::StartedFromState => "StartedFromState",
            EventReason::NetworkAvailable => "NetworkAvailable",
            EventReason::AddressAllocated => "AddressAllocated",
            EventReason::AddressMissing => "AddressMissing",
            EventReason::PoolExhausted => "PoolExhausted",
        }
    }

    /// Whether somebody has to do something about it.
    pub fn is_warning(self) -> bool {
        match self {
            EventReason::SessionLost
            | EventReason::NearMaxPrefixes
            | EventReason::ObjectRefused
            | EventReason::SecretMissing
            | EventReason::RouteInstallFailed
            | EventReason::StartedFromState
            | EventReason::AddressMissing
            | EventReason::PoolExhausted => true,
            EventReason::SessionEstablished
            | EventReason::ObjectAccepted
            | EventReason::NetworkAvailable
            | EventReason::AddressAllocated => false,
        }
    }

    /// The kind of object that it is told of.
    pub fn regarding(self) -> &'static str {
        match self {
            EventReason::SessionEstablished
            | EventReason::SessionLost
            | EventReason::NearMaxPrefixes
            | EventReason::RouteInstallFailed
            | EventReason::StartedFromState
            | EventReason::NetworkAvailable => "Node",
            EventReason::ObjectRefused
            | EventReason::SecretMissing
            | EventReason::ObjectAccepted => "an object of our kinds",
            EventReason::AddressAllocated | EventReason::AddressMissing => "Service",
            EventReason::PoolExhausted => "LoadBalancerPool",
        }
    }

    /// What it means and what to do, for the reference.
    pub fn about(self) -> &'static str {
        match self {
            EventReason::SessionEstablished => {
                "BGP sessions with nodes or BGPPeers came up. Those with nodes are told in one Event."
            }
            EventReason::SessionLost => {
                "BGP sessions that were up went down, and why: `kubectl get bgpnode NODE -o yaml` has the details."
            }
            EventReason::NearMaxPrefixes => {
                "A peer announces nearly as many prefixes as its BGPPeer's maxPrefixes allows, or more where that ends no session."
            }
            EventReason::ObjectRefused => {
                "The object, or a part of it, has no effect: the message names the field. Its condition Accepted is False."
            }
            EventReason::SecretMissing => {
                "The Secret that the object names is not there or holds no usable password: the session stays down. Create it."
            }
            EventReason::ObjectAccepted => "What was wrong with the object is put right.",
            EventReason::RouteInstallFailed => {
                "The kernel refused routes, or somebody else's stand in their place: `dunlin get routes` on the node shows them."
            }
            EventReason::StartedFromState => {
                "No API server answered when the agent started: it began with the last known state, and has caught up since."
            }
            EventReason::NetworkAvailable => {
                "The cloud had said that the node has no network; now it routes, and pods may be scheduled."
            }
            EventReason::AddressAllocated => "The Service got these addresses.",
            EventReason::AddressMissing => {
                "Told under the reason of the Service's condition dunlin.dev/Allocated, such as Exhausted or NoPool."
            }
            EventReason::PoolExhausted => {
                "The pool has no address of this family left: enlarge it."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EventReason;

    #[test]
    fn each_reason_is_listed_once() {
        let mut names: Vec<&str> = EventReason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EventReason::ALL.len());
    }
}
