//! What an organization has subscribed to.

use crate::text_enum;

text_enum! {
    /// `organizations.subscription_status`.
    pub enum SubscriptionStatus {
        /// Tried out.
        Trial => "trial",
        /// Paid for.
        Active => "active",
        /// A bill is late; everything goes on.
        PastDue => "past_due",
        /// Ended by the customer.
        Cancelled => "cancelled",
        /// Ended by its date.
        Expired => "expired",
    }
}

impl SubscriptionStatus {
    /// Whether nothing new is made under it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Expired)
    }
}
