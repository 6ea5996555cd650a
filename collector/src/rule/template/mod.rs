//! Templates in rules' labels and annotations: Go's template language with Prometheus' variables
//! and functions.
//!
//! Available are `$labels`, `$value`, `$externalLabels` (empty outside of unit tests), `$externalURL`, the
//! same as fields (`.Labels`, `.Value`, …), the language's own control flow and functions, and those that
//! the module `function` lists. A template can read only what it is given: `query` asks PromQL, and nothing
//! reaches files, commands or the environment. What it writes is cut at a bound, and how
//! often it may loop is limited.

mod function;
mod number;
mod syntax;

use std::fmt::{self, Write};
use std::sync::Arc;

use gotmpl::{TemplateError as EngineError, Value, ValueFunc};
use thiserror::Error;
use upkeep_model::{Labels, METRIC_NAME};
use upkeep_promql::Point;

/// The most bytes that a template writes; enough for any message that a person reads.
const MAX_OUTPUT: usize = 16 * 1024;

/// The most turns that all loops of one template may take together.
const MAX_TURNS: u64 = 10_000;

/// As many may those take that one call of `tmpl` fills in.
const MAX_INCLUDED_TURNS: u64 = 100;

/// The name under which a parsed text is kept inside the engine.
const ROOT: &str = "text";

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The text does not follow the grammar.
    #[error("template `{template}`: line {line}, column {column}: {message}")]
    Syntax {
        /// The label or annotation.
        template: String,
        /// Line within the text, from 1.
        line: usize,
        /// Column within the line, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The text uses a function that does not exist.
    #[error("template `{template}`: function `{name}` is not known")]
    UnknownFunction {
        /// The label or annotation.
        template: String,
        /// The function.
        name: String,
    },
    /// The text uses a variable that it does not define.
    #[error("template `{template}`: variable `{name}` is not defined")]
    UnknownVariable {
        /// The label or annotation.
        template: String,
        /// The variable.
        name: String,
    },
    /// It could not be filled in.
    #[error("template `{template}`: {message}")]
    Render {
        /// The label or annotation.
        template: String,
        /// What went wrong.
        message: String,
    },
}

/// Answers `query` inside templates.
pub type Ask = Arc<dyn Fn(&str) -> Result<Vec<Point>, String> + Send + Sync>;

/// A compiled template.
pub struct Template {
    name: Arc<str>,
    text: Arc<str>,
    /// `None` for a text without actions, which stands for itself.
    compiled: Option<gotmpl::Template>,
}

/// What templates see whatever the alert is.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The address of this server.
    pub external_url: &'a str,
    /// Labels that the server is known by.
    pub external_labels: &'a Labels,
    /// How to ask PromQL.
    pub ask: &'a Ask,
    /// The moment of the evaluation, in milliseconds since 1970.
    pub now_ms: i64,
}

/// What templates of one alert see.
pub struct Context(Value);

impl Context {
    /// The context of an alert: the labels of its series, the expression's value, and what does not
    /// depend on it.
    pub fn new(labels: &Labels, value: f64, site: &Site<'_>) -> Self {
        let Site { external_url, external_labels, ask, now_ms } = *site;
        let ask = Arc::clone(ask);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit")]
        let now = now_ms as f64 / 1000.0;
        // As Prometheus has it, so that a link's path can follow.
        let external_url = external_url.trim_end_matches('/');
        let path = reqwest::Url::parse(external_url).map(|url| url.path().to_owned());
        let path = path.unwrap_or_default();
        let query = move |arguments: &[Value]| function::query(arguments, &ask);
        Self(Value::from_entries([
            ("Labels".to_owned(), labels_value(labels)),
            ("Value".to_owned(), Value::Float(value)),
            ("ExternalLabels".to_owned(), labels_value(external_labels)),
            ("ExternalURL".to_owned(), text_value(external_url)),
            (syntax::NOW_FIELD.to_owned(), Value::Float(now)),
            (syntax::PATH_FIELD.to_owned(), text_value(path.trim_end_matches('/'))),
            (syntax::QUERY_FIELD.to_owned(), Value::Function(Arc::new(query))),
        ]))
    }
}

impl Template {
    /// Compiles the text of the label or annotation `name`.
    ///
    /// # Errors
    /// When the text does not follow the grammar, or names an unknown function or variable.
    pub fn compile(name: &str, text: &str) -> Result<Self, TemplateError> {
        let compiled = if text.contains("{{") { Some(compile(name, text)?) } else { None };
        Ok(Self { name: name.into(), text: text.into(), compiled })
    }

    /// A text that stands for itself, whatever is in it.
    pub fn verbatim(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into(), compiled: None }
    }

    /// The label or annotation that it fills.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, for all that it fills.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The text that was compiled.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether what it writes is up to the alert.
    pub fn is_filled_in(&self) -> bool {
        self.compiled.is_some()
    }

    /// Whether it may ask PromQL.
    pub fn asks(&self) -> bool {
        self.compiled.is_some() && self.text.contains("query")
    }

    /// Fills it in; what exceeds a bound is cut, with an ellipsis in its place. A text without actions is
    /// shared by all that it fills.
    ///
    /// # Errors
    /// When a function is given what it cannot use, a query fails, or loops do not end.
    pub fn render(&self, context: &Context) -> Result<Arc<str>, TemplateError> {
        let Some(compiled) = &self.compiled else {
            return Ok(Arc::clone(&self.text));
        };
        let filled = fill(compiled, ROOT, &context.0);
        let failed = |message| TemplateError::Render { template: self.name.to_string(), message };
        filled.map(Arc::from).map_err(failed)
    }
}

/// What a template writes about some data, cut at the bound.
fn fill(engine: &gotmpl::Template, name: &str, data: &Value) -> Result<String, String> {
    let mut output = Output::default();
    match engine.execute_template_fmt(&mut output, name, data) {
        Ok(()) => Ok(output.text),
        Err(_) if output.is_full => Ok(output.text + "…"),
        Err(error) => Err(error.to_string()),
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Template({}: {:?})", self.name, self.text)
    }
}

fn compile(name: &str, text: &str) -> Result<gotmpl::Template, TemplateError> {
    let syntax = syntax::parse(name, text)?;
    let engine = |include: ValueFunc, turns: u64| {
        let engine = gotmpl::Template::new(ROOT).funcs(function::all(include));
        let defines = syntax.defines.iter();
        defines.fold(engine.max_range_iters(turns), |engine, define| {
            engine.add_parse_tree(&define.name, define.body.clone())
        })
    };
    // One level is enough for what people write, and calls cannot go round in circles.
    let nested = |_: &[Value]| {
        Err(EngineError::Exec("tmpl cannot be used in what tmpl fills in".to_owned()))
    };
    let included = engine(Arc::new(nested), MAX_INCLUDED_TURNS);
    let include = move |arguments: &[Value]| {
        function::include(arguments, |name, data| fill(&included, name, data))
    };
    Ok(engine(Arc::new(include), MAX_TURNS).add_parse_tree(ROOT, syntax.tree.clone()))
}

fn labels_value(labels: &Labels) -> Value {
    let entries = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    Value::Map(Arc::new(
        entries.map(|(name, value)| (Arc::from(name), text_value(value))).collect(),
    ))
}

fn text_value(text: &str) -> Value {
    Value::String(Arc::from(text))
}

/// Collects what a template writes, up to the limit.
#[derive(Default)]
struct Output {
    text: String,
    is_full: bool,
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_OUTPUT.saturating_sub(self.text.len());
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or(text);
        self.text.push_str(fits);
        if fits.len() < text.len() {
            self.is_full = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
