//! What a partial change says of one field: nothing, that it goes, or what it becomes (RFC 7396).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One field of a partial change. In JSON: absent, `null`, or a value; fields need
/// `#[serde(default, skip_serializing_if = "Change::is_keep")]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It has no value any more.
    Clear,
    /// It has this value.
    Set(T),
}

impl<T> Change<T> {
    /// Whether it stays as it is.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The new value; none also when there is none any more.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// Turns the new value into something else.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(turn(value)),
        }
    }

    /// The new value, `empty` where there is none any more; none if it stays.
    pub fn or_empty(self, empty: T) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(empty),
            Self::Set(value) => Some(value),
        }
    }
}

/// What is not given stays.
impl<T> From<Option<T>> for Change<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Keep, Self::Set)
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Body {
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        notes: Change<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        for (text, notes) in [
            ("{}", Change::Keep),
            (r#"{"notes":null}"#, Change::Clear),
            (r#"{"notes":"x"}"#, Change::Set("x".to_owned())),
        ] {
            let body: Body = serde_json::from_str(text).unwrap();
            assert_eq!(body, Body { notes });
            assert_eq!(serde_json::to_string(&body).unwrap(), text);
        }
    }
}
