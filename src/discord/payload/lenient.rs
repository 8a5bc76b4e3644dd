//! Lenient parsing of single fields: a value of an unexpected type becomes the default.
//!
//! Discord changes its objects all the time. One unexpected field must not make its whole object
//! unreadable, so a field parsed with [`lenient`] never fails on valid JSON. An unexpected value
//! is skipped without being copied.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, FixedOffset};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::leveling::Field;

/// Parses a field; an unexpected value becomes the default of `T`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Lenient<'de>>(field: D) -> Result<T, D::Error> {
    field.deserialize_any(Reader(PhantomData))
}

/// As [`lenient`], for an object; anything else becomes `None`. All fields of `T` must be lenient
/// themselves, because an error in one of them is not caught here.
pub(super) fn lenient_object<'de, D, T>(field: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let object: Object<T> = lenient(field)?;
    Ok(object.0)
}

/// As [`lenient`], for any type: `None` if its own parser fails. Works only when the source is JSON
/// text, not a `Value`.
pub(super) fn lenient_text<'de, D, T>(field: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = <&RawValue>::deserialize(field)?;
    Ok(serde_json::from_str(text.get()).ok())
}

/// How a type is made from each kind of JSON value. A kind without a method of its own (floats and
/// arrays), and every method that a type does not implement, gives the default.
pub(super) trait Lenient<'de>: Default {
    fn boolean(_: bool) -> Self {
        Self::default()
    }

    fn number(_: u64) -> Self {
        Self::default()
    }

    fn text(_: Cow<'de, str>) -> Self {
        Self::default()
    }

    fn null() -> Self {
        Self::default()
    }

    fn object<A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl Lenient<'_> for Option<bool> {
    fn boolean(value: bool) -> Self {
        Some(value)
    }
}

impl Lenient<'_> for Option<u8> {
    fn number(value: u64) -> Self {
        value.try_into().ok()
    }
}

impl Lenient<'_> for Option<u64> {
    fn number(value: u64) -> Self {
        Some(value)
    }
}

impl Lenient<'_> for Option<String> {
    fn text(value: Cow<'_, str>) -> Self {
        Some(value.into_owned())
    }
}

impl<'de> Lenient<'de> for Option<Cow<'de, str>> {
    fn text(value: Cow<'de, str>) -> Self {
        Some(value)
    }
}

impl Lenient<'_> for Option<DateTime<FixedOffset>> {
    fn text(value: Cow<'_, str>) -> Self {
        DateTime::parse_from_rfc3339(&value).ok()
    }
}

impl Lenient<'_> for Field {
    fn text(value: Cow<'_, str>) -> Self {
        Self::Value(value.into_owned())
    }

    fn null() -> Self {
        Self::Empty
    }
}

struct Object<T>(Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(fields: A) -> Result<Self, A::Error> {
        let object = T::deserialize(MapAccessDeserializer::new(fields))?;
        Ok(Self(Some(object)))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(value.try_into().map_or_else(|_| T::default(), T::number))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::number(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<T, E> {
        Ok(T::text(Cow::Owned(value)))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_none<E>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<T, D::Error> {
        value.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::object(fields)
    }
}
