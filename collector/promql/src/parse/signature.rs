//! The functions of the language as the parser knows them, those that are not evaluated included.

use crate::expression::ValueType::{self, Matrix, Scalar, Text, Vector};

/// What a function takes and gives.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [ValueType],
    pub(super) more: More,
    pub(super) returns: ValueType,
    pub(super) support: Support,
}

/// How many arguments there may be beside those that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    None,
    /// The last argument and further ones like it, so many in all; none must be there.
    Optional(usize),
    /// The same without a limit.
    Any,
}

/// Whether this implementation evaluates a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    Full,
    Native,
    Experimental,
}

impl Signature {
    /// As Prometheus has it: 0 for a fixed number of arguments, -1 for any.
    pub(super) fn variadic(&self) -> i64 {
        match self.more {
            More::None => 0,
            More::Optional(count) => i64::try_from(count).unwrap_or(i64::MAX),
            More::Any => -1,
        }
    }

    const fn optional(self, count: usize) -> Self {
        Self { more: More::Optional(count), ..self }
    }

    const fn any(self) -> Self {
        Self { more: More::Any, ..self }
    }

    const fn experimental(self) -> Self {
        Self { support: Support::Experimental, ..self }
    }

    const fn native(self) -> Self {
        Self { support: Support::Native, ..self }
    }

    const fn scalar(self) -> Self {
        Self { returns: Scalar, ..self }
    }
}

const fn function(name: &'static str, arguments: &'static [ValueType]) -> Signature {
    Signature { name, arguments, more: More::None, returns: Vector, support: Support::Full }
}

const fn of_vector(name: &'static str) -> Signature {
    function(name, &[Vector])
}

const fn of_range(name: &'static str) -> Signature {
    function(name, &[Matrix])
}

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Signature> {
    let at = SIGNATURES.binary_search_by(|signature| signature.name.cmp(name)).ok()?;
    SIGNATURES.get(at)
}

/// All functions, by name.
static SIGNATURES: &[Signature] = &[
    of_vector("abs"),
    of_vector("absent"),
    of_range("absent_over_time"),
    of_vector("acos"),
    of_vector("acosh"),
    of_vector("asin"),
    of_vector("asinh"),
    of_vector("atan"),
    of_vector("atanh"),
    of_range("avg_over_time"),
    of_vector("ceil"),
    of_range("changes"),
    function("clamp", &[Vector, Scalar, Scalar]),
    function("clamp_max", &[Vector, Scalar]),
    function("clamp_min", &[Vector, Scalar]),
    of_vector("cos"),
    of_vector("cosh"),
    of_range("count_over_time"),
    of_vector("day_of_month").optional(1),
    of_vector("day_of_week").optional(1),
    of_vector("day_of_year").optional(1),
    of_vector("days_in_month").optional(1),
    of_vector("deg"),
    of_range("delta"),
    of_range("deriv"),
    function("double_exponential_smoothing", &[Matrix, Scalar, Scalar]).experimental(),
    function("end", &[]).scalar().experimental(),
    of_vector("exp"),
    of_range("first_over_time"),
    of_vector("floor"),
    of_vector("histogram_avg").native(),
    of_vector("histogram_count").native(),
    function("histogram_fraction", &[Scalar, Scalar, Vector]),
    function("histogram_quantile", &[Scalar, Vector]),
    function("histogram_quantiles", &[Vector, Text, Scalar, Scalar]).optional(9).experimental(),
    of_vector("histogram_stddev").native(),
    of_vector("histogram_stdvar").native(),
    of_vector("histogram_sum").native(),
    of_vector("hour").optional(1),
    of_range("idelta"),
    of_range("increase"),
    function("info", &[Vector, Vector]).optional(1).experimental(),
    function("integral", &[Matrix, Scalar]).optional(1).experimental(),
    of_range("irate"),
    function("label_join", &[Vector, Text, Text, Text]).any(),
    function("label_replace", &[Vector, Text, Text, Text, Text]),
    of_range("last_over_time"),
    of_vector("ln"),
    of_vector("log10"),
    of_vector("log2"),
    of_range("mad_over_time").experimental(),
    of_range("max_over_time"),
    of_range("min_over_time"),
    of_vector("minute").optional(1),
    of_vector("month").optional(1),
    function("pi", &[]).scalar(),
    function("predict_linear", &[Matrix, Scalar]),
    of_range("present_over_time"),
    function("quantile_over_time", &[Scalar, Matrix]),
    of_vector("rad"),
    function("range", &[]).scalar().experimental(),
    of_range("rate"),
    of_range("resets"),
    function("round", &[Vector, Scalar]).optional(1),
    of_vector("scalar").scalar(),
    of_vector("sgn"),
    of_vector("sin"),
    of_vector("sinh"),
    of_vector("sort"),
    function("sort_by_label", &[Vector, Text]).any().experimental(),
    function("sort_by_label_desc", &[Vector, Text]).any().experimental(),
    of_vector("sort_desc"),
    of_vector("sqrt"),
    function("start", &[]).scalar().experimental(),
    of_vector("start_timestamp").experimental(),
    of_range("stddev_over_time"),
    of_range("stdvar_over_time"),
    function("step", &[]).scalar().experimental(),
    of_range("sum_over_time"),
    of_vector("tan"),
    of_vector("tanh"),
    function("time", &[]).scalar(),
    of_vector("timestamp"),
    of_range("ts_of_first_over_time").experimental(),
    of_range("ts_of_last_over_time").experimental(),
    of_range("ts_of_max_over_time").experimental(),
    of_range("ts_of_min_over_time").experimental(),
    function("vector", &[Scalar]),
    of_vector("year").optional(1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::function;

    #[test]
    fn what_is_supported_is_evaluated_and_nothing_else() {
        for signature in SIGNATURES {
            let name = signature.name;
            assert!(find(name).is_some(), "{name} is out of order");
            let evaluated = function::find(name);
            assert_eq!(evaluated.is_some(), signature.support == Support::Full, "{name}");
            assert!(evaluated.is_none_or(|one| one.returns == signature.returns), "{name}");
        }
    }
}
