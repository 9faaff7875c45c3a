use std::fmt;

/// Where a Secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SecretRef {
    /// The namespace of a reference that names none.
    pub const DEFAULT_NAMESPACE: &'static str = "kube-system";

    /// A Secret's place.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> SecretRef {
        SecretRef {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Secret as far as it matters: the password under the key `password`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretFact {
    /// Where it is.
    pub at: SecretRef,
    /// The value of the key `password`; none if the Secret has no such key.
    pub password: Option<Secret>,
}

/// Octets that must not be shown: `Debug` hides them, and they are overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps these octets.
    pub fn new(octets: impl Into<Box<[u8]>>) -> Secret {
        Secret(octets.into())
    }

    /// The octets themselves, for the one place that hands them to the kernel.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from leaving out a write that nothing reads.
        std::hint::black_box(&self.0);
    }
}
