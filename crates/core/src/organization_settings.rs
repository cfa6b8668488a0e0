//! What an organization sets for itself: known settings, each with its bounds. They only tighten what the installation sets.

use chrono::TimeDelta;
use clm_types::{ErrorCode, Refusal, Time, text_enum};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

text_enum! {
    /// Whether a second factor is needed.
    pub enum SecondFactor {
        /// Of those who have one, and of administrators.
        Optional => "optional",
        /// Of everybody who belongs to the organization or works in it.
        Required => "required",
    }
}

/// `organizations.settings`. What is left out is as the installation has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrganizationSettings {
    /// Sessions of people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInSettings>,
    /// Keys of programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeySettings>,
}

/// Sessions of people who work in the organization.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SignInSettings {
    /// `optional`, `required`.
    #[schema(schema_with = second_factor)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<SecondFactor>,
    /// A session that was not used for so long does not work in the organization; no more than the installation's
    /// `session_idle_minutes`.
    #[schema(minimum = 2, maximum = 1440)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_idle_minutes: Option<u32>,
    /// So long after it was opened a session does not work in the organization any more; no more than the installation's
    /// `session_lifetime_hours`.
    #[schema(minimum = 1, maximum = 720)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_lifetime_hours: Option<u32>,
}

/// API keys that are made in the organization.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeySettings {
    /// Longest life of a new key, in days.
    #[schema(minimum = 1, maximum = 365)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_days: Option<u32>,
}

/// A number among the settings, and its bounds.
struct Bounded {
    pointer: &'static str,
    least: u32,
    most: u32,
}

/// The last use of a session is noted once a minute: after one minute it would end between two calls.
const IDLE_MINUTES: Bounded = Bounded { pointer: "/sign_in/session_idle_minutes", least: 2, most: 1440 };
const LIFETIME_HOURS: Bounded = Bounded { pointer: "/sign_in/session_lifetime_hours", least: 1, most: 720 };
const LONGEST_DAYS: Bounded = Bounded { pointer: "/api_keys/longest_days", least: 1, most: 365 };

impl Bounded {
    fn has(&self, value: u64) -> bool {
        (u64::from(self.least)..=u64::from(self.most)).contains(&value)
    }

    /// What is out of bounds is as if it were not there: it could let nobody in, or be later than any time.
    fn read(&self, stored: &Value) -> Option<u32> {
        leaf(stored, self.pointer).filter(|value: &u32| self.has(u64::from(*value)))
    }
}

fn second_factor() -> Object {
    let values = SecondFactor::ALL.iter().map(|value| Value::from(value.as_str())).chain([Value::Null]);
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(types).enum_values(Some(values)).build()
}

impl OrganizationSettings {
    /// Fails unless `new` holds known settings within their bounds. What stands in `old` just so is let stay, known or not: it
    /// may be of another version.
    ///
    /// # Errors
    /// `invalid_request`, with the known settings.
    pub fn check(new: &Value, old: &Value) -> Result<(), Refusal> {
        let invalid = |field: &str, detail: String| {
            Err(Refusal::new(ErrorCode::InvalidRequest, detail).field(format!("/settings{field}")))
        };
        let Value::Object(new) = new else {
            return invalid("", "the settings are a JSON object".to_owned());
        };
        let changed = Value::Object(changes(new, old.as_object()));
        if let Err(error) = Self::deserialize(&changed) {
            return invalid("", format!("the settings cannot be taken: {error}"));
        }
        for bounds in [IDLE_MINUTES, LIFETIME_HOURS, LONGEST_DAYS] {
            let value = changed.pointer(bounds.pointer).and_then(Value::as_u64);
            if value.is_some_and(|value| !bounds.has(value)) {
                let detail = format!("this is {} to {}", bounds.least, bounds.most);
                return invalid(bounds.pointer, detail);
            }
        }
        Ok(())
    }

    /// What of the stored settings takes effect: known ones within their bounds. Others are passed over.
    pub fn read(stored: &Value) -> Self {
        Self {
            sign_in: Some(SignInSettings {
                second_factor: leaf(stored, "/sign_in/second_factor"),
                session_idle_minutes: IDLE_MINUTES.read(stored),
                session_lifetime_hours: LIFETIME_HOURS.read(stored),
            }),
            api_keys: Some(ApiKeySettings { longest_days: LONGEST_DAYS.read(stored) }),
        }
    }

    /// Whether everybody needs a second factor.
    pub(crate) fn requires_factor(&self) -> bool {
        let wanted = self.sign_in.as_ref().and_then(|it| it.second_factor);
        wanted == Some(SecondFactor::Required)
    }

    /// When a session that was opened and last used then stops working in the organization.
    pub(crate) fn session_end(&self, opened: Time, used: Time) -> Option<Time> {
        let sign_in = self.sign_in.as_ref()?;
        let idle = sign_in.session_idle_minutes.map(|minutes| used + TimeDelta::minutes(minutes.into()));
        let life = sign_in.session_lifetime_hours.map(|hours| opened + TimeDelta::hours(hours.into()));
        idle.into_iter().chain(life).min()
    }

    /// The longest life of a key.
    pub(crate) fn longest_key(&self) -> Option<TimeDelta> {
        self.api_keys.as_ref()?.longest_days.map(|days| TimeDelta::days(days.into()))
    }
}

fn leaf<T: DeserializeOwned>(stored: &Value, pointer: &str) -> Option<T> {
    stored.pointer(pointer).and_then(|value| T::deserialize(value).ok())
}

/// What `old` does not have just so, one level down too.
fn changes(new: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut changed = Map::new();
    for (name, value) in new {
        let before = old.and_then(|old| old.get(name));
        match (value, before) {
            (value, Some(before)) if value == before => {}
            (Value::Object(section), Some(Value::Object(before))) => {
                changed.insert(name.clone(), Value::Object(changes(section, Some(before))));
            }
            (value, _) => {
                changed.insert(name.clone(), value.clone());
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(new: &Value, old: &Value) -> Option<String> {
        OrganizationSettings::check(new, old).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn known_settings_within_their_bounds_are_taken() {
        for good in [
            json!({}),
            json!({"sign_in": {"second_factor": "required", "session_idle_minutes": 2}}),
            json!({"sign_in": {"session_lifetime_hours": 720}, "api_keys": {"longest_days": 365}}),
        ] {
            assert_eq!(refused(&good, &json!({})), None);
        }
        for bad in [
            json!([]),
            json!({"sign_in": {"second_factor": "maybe"}}),
            json!({"sign_in": {"session_idle_minutes": 0}}),
            json!({"sign_in": {"session_idle_minutes": 1}}),
            json!({"sign_in": {"session_idle_minutes": 1441}}),
            json!({"sign_in": {"session_lifetime_hours": 0}}),
            json!({"sign_in": {"session_idle_minutes": "5"}}),
            json!({"sign_in": 7}),
            json!({"api_keys": {"longest_days": 366}}),
        ] {
            assert!(refused(&bad, &json!({})).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_known_ones_unless_it_stands_there() {
        let told = refused(&json!({"locale": "de"}), &json!({})).unwrap();
        assert!(told.contains("`locale`") && told.contains("`sign_in`"), "{told}");
        let told = refused(&json!({"sign_in": {"colour": 1}}), &json!({})).unwrap();
        assert!(told.contains("`second_factor`"), "{told}");
        let old = json!({"locale": "de", "sign_in": {"colour": 1}});
        assert_eq!(
            refused(&json!({"locale": "de", "sign_in": {"colour": 1, "second_factor": "required"}}), &old),
            None
        );
        assert!(refused(&json!({"locale": "fr"}), &old).is_some());
    }

    #[test]
    fn what_cannot_be_read_takes_no_effect() {
        let read = OrganizationSettings::read(
            &json!({"sign_in": {"second_factor": 1, "session_idle_minutes": 5}, "x": 1}),
        );
        assert!(!read.requires_factor());
        let opened = chrono::DateTime::UNIX_EPOCH;
        assert_eq!(read.session_end(opened, opened), Some(opened + TimeDelta::minutes(5)));
        assert_eq!(read.longest_key(), None);
        for odd in [json!(0), json!(u32::MAX), json!(u64::MAX), json!(-1), json!(2.5)] {
            let read = OrganizationSettings::read(
                &json!({"sign_in": {"session_idle_minutes": odd, "session_lifetime_hours": odd}, "api_keys": {"longest_days": odd}}),
            );
            assert_eq!((read.session_end(opened, opened), read.longest_key()), (None, None), "{odd}");
        }
    }
}
