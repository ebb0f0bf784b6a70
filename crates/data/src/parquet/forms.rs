//! What form each part of a Parquet file's description has, after `parquet.thrift` of Apache's parquet-format 2.12.
//!
//! Parquet's reader goes by the numbers of fields and never by the kinds that stand beside them. A field of another kind, or one that
//! comes twice, would have it read other things than were looked at here. Not here: what lengths and counts are sound
//! ([`super::layout`]).

use super::thrift::Value;

/// What a value must be.
pub(super) enum Form {
    Truth,
    Byte,
    Number,
    Fraction,
    Bytes,
    List(&'static Form),
    /// Fields by their numbers. Others may be anything: they are passed over by their kinds.
    Struct(&'static [(i16, Form)]),
}

use Form::{Byte, Bytes, Fraction, List, Number, Struct, Truth};

/// A structure without fields, by which unions tell one case from another.
const CASE: Form = Struct(&[]);

/// `FileMetaData`.
pub(super) const FILE: Form = Struct(&[
    (1, Number),
    (2, List(&SCHEMA_ELEMENT)),
    (3, Number),
    (4, List(&ROW_GROUP)),
    (5, List(&KEY_VALUE)),
    (6, Bytes),
    (7, List(&Struct(&[(1, CASE), (2, CASE)]))),
    (9, Bytes),
]);

/// `PageHeader`.
pub(super) const PAGE: Form = Struct(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, DATA_PAGE),
    (6, CASE),
    (7, DICTIONARY),
    (8, DATA_PAGE_V2),
]);

const DATA_PAGE: Form = Struct(&[(1, Number), (2, Number), (3, Number), (4, Number), (5, STATISTICS)]);

const DICTIONARY: Form = Struct(&[(1, Number), (2, Number), (3, Truth)]);

const DATA_PAGE_V2: Form = Struct(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Truth),
    (8, STATISTICS),
]);

const KEY_VALUE: Form = Struct(&[(1, Bytes), (2, Bytes)]);

const SCHEMA_ELEMENT: Form = Struct(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Bytes),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, LOGICAL_TYPE),
]);

const LOGICAL_TYPE: Form = Struct(&[
    (1, CASE),
    (2, CASE),
    (3, CASE),
    (4, CASE),
    (5, Struct(&[(1, Number), (2, Number)])),
    (6, CASE),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Truth)])),
    (11, CASE),
    (12, CASE),
    (13, CASE),
    (14, CASE),
    (15, CASE),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Number)])),
    (19, CASE),
]);

/// Whether it is that of UTC, and the unit.
const TIME: Form = Struct(&[(1, Truth), (2, Struct(&[(1, CASE), (2, CASE), (3, CASE)]))]);

const ROW_GROUP: Form = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Number),
    (3, Number),
    (4, List(&Struct(&[(1, Number), (2, Truth), (3, Truth)]))),
    (5, Number),
    (6, Number),
    (7, Number),
]);

const COLUMN_CHUNK: Form =
    Struct(&[(1, Bytes), (2, Number), (3, COLUMN), (4, Number), (5, Number), (6, Number), (7, Number), (9, Bytes)]);

/// `ColumnMetaData`.
const COLUMN: Form = Struct(&[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Bytes)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&KEY_VALUE)),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (16, Struct(&[(1, Number), (2, List(&Number)), (3, List(&Number))])),
    (17, Struct(&[(1, BOX), (2, List(&Number))])),
]);

const STATISTICS: Form = Struct(&[
    (1, Bytes),
    (2, Bytes),
    (3, Number),
    (4, Number),
    (5, Bytes),
    (6, Bytes),
    (7, Truth),
    (8, Truth),
    (9, Number),
]);

/// Places on the Earth.
const BOX: Form = Struct(&[
    (1, Fraction),
    (2, Fraction),
    (3, Fraction),
    (4, Fraction),
    (5, Fraction),
    (6, Fraction),
    (7, Fraction),
    (8, Fraction),
]);

impl Form {
    /// Whether a value has this form throughout.
    ///
    /// # Errors
    /// What is wrong with it, for a description that "has" this.
    pub(super) fn check(&self, value: &Value<'_>) -> Result<(), &'static str> {
        match (self, value) {
            (Truth, Value::Truth)
            | (Byte, Value::Byte)
            | (Number, Value::Number(_))
            | (Fraction, Value::Fraction)
            | (Bytes, Value::Bytes(_)) => Ok(()),
            (List(form), Value::List(values)) => values.iter().try_for_each(|value| form.check(value)),
            (Struct(forms), Value::Struct(fields)) => {
                let mut seen = 0_u32;
                for (number, value) in fields {
                    let Some((_, form)) = forms.iter().find(|(n, _)| n == number) else { continue };
                    if seen & 1 << number != 0 {
                        return Err("a field that comes twice");
                    }
                    seen |= 1 << number;
                    form.check(value)?;
                }
                Ok(())
            }
            _ => Err("a field of a kind that it never has"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_other_kinds_and_those_that_come_twice_are_refused() {
        let size = |number, value| (number, value);
        let page = |fields| PAGE.check(&Value::Struct(fields));
        assert_eq!(page(vec![size(1, Value::Number(0)), size(2, Value::Number(4)), size(77, Value::Fraction)]), Ok(()));
        assert!(page(vec![size(2, Value::Bytes(b"a"))]).unwrap_err().contains("kind"));
        assert!(page(vec![size(2, Value::Number(4)), size(2, Value::Number(1 << 30))]).unwrap_err().contains("twice"));
        assert!(page(vec![size(7, Value::Struct(vec![(3, Value::Byte)]))]).unwrap_err().contains("kind"));
        let groups = |value| FILE.check(&Value::Struct(vec![(4, Value::List(vec![value]))]));
        assert_eq!(groups(Value::Struct(vec![(1, Value::List(vec![]))])), Ok(()));
        assert!(groups(Value::Number(1)).unwrap_err().contains("kind"));
    }
}
