//! The proofs that a test may switch off, to see that something notices.

/// A proof or comparison that is left out while the file `skip.NAME` is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The gateway's proof of what it loaded and attached.
    GatewayProve,
    /// The service's second proof, before the hot copy is deleted.
    ServiceReprove,
}

impl Skip {
    /// NAME in the file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GatewayProve => "gateway.prove",
            Self::ServiceReprove => "service.reprove",
        }
    }

    /// The file that leaves it out.
    #[must_use]
    pub fn file(self) -> String {
        format!("skip.{}", self.name())
    }
}
