//! A line of the log as one JSON object: when, how grave, from where, the message, and every field beside it.

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::Map;

/// The line. Fields that a record carries stand at the top, beside `time`, `level`, `target` and `message`.
pub(super) fn line(time: &str, record: &Record<'_>) -> String {
    let mut fields = Fields(Map::new());
    // Only a field that cannot be read fails, and the others stand.
    let _unreadable = record.key_values().visit(&mut fields);
    let Fields(mut object) = fields;
    let own = [
        ("time", time.to_owned()),
        ("level", record.level().as_str().to_owned()),
        ("target", record.target().to_owned()),
        ("message", record.args().to_string()),
    ];
    object.extend(own.map(|(name, text)| (name.to_owned(), text.into())));
    serde_json::Value::Object(object).to_string()
}

/// The fields of a record, gathered.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut field = Field(serde_json::Value::Null);
        value.visit(&mut field)?;
        self.0.insert(key.to_string(), field.0);
        Ok(())
    }
}

/// One value, numbers as numbers.
struct Field(serde_json::Value);

impl<'v> VisitValue<'v> for Field {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = serde_json::Value::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_at_the_top_and_cannot_take_the_place_of_the_lines_own() {
        let none: Option<&str> = None;
        let fields: [(&str, Value<'_>); 5] = [
            ("status", Value::from(200u16)),
            ("path", Value::from("/a\"\n")),
            ("cost_usd", Value::from("0.1")),
            ("nothing", log::kv::ToValue::to_value(&none)),
            ("level", Value::from("forged")),
        ];
        let record = Record::builder()
            .level(log::Level::Info)
            .target("bedgate::access")
            .args(format_args!("a \"message\"\nof two lines"))
            .key_values(&fields)
            .build();
        let line = line("2026-01-01T00:00:00Z", &record);
        assert!(!line.contains('\n'));
        let expected = serde_json::json!({
            "time": "2026-01-01T00:00:00Z", "level": "INFO", "target": "bedgate::access",
            "message": "a \"message\"\nof two lines",
            "status": 200, "path": "/a\"\n", "cost_usd": "0.1", "nothing": null,
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), expected);
    }
}
