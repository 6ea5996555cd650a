//! What is done to a parsed template before it runs: its names are checked, `query` is bound to
//! the question's answerer in the data, and every printed value goes through [`SHOW`].

use std::collections::BTreeSet;

use gotmpl::TemplateError as EngineError;
use gotmpl::parse::{
    CommandNode, DefineNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr,
};

use super::TemplateError;
use super::function;

/// The field of the data that answers `query`. Its name cannot be written in a template.
pub(super) const QUERY_FIELD: &str = "query of PromQL";

/// The fields of the data that stand for functions whose answer is up to the run. Their names cannot be
/// written in a template.
pub(super) const NOW_FIELD: &str = "now in seconds";
pub(super) const PATH_FIELD: &str = "path of the external address";

/// The functions without arguments, with the field of the data that has their answer.
const BOUND: [(&str, &str); 3] =
    [("now", NOW_FIELD), ("externalURL", "ExternalURL"), ("pathPrefix", PATH_FIELD)];

/// The function that prints a value as Go does. Its name cannot be written in a template.
pub(super) const SHOW: &str = "show value";

/// Prometheus' variables.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                       {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// A template that is ready to run.
pub(super) struct Syntax {
    pub(super) tree: ListNode,
    pub(super) defines: Vec<DefineNode>,
}

pub(super) fn parse(name: &str, text: &str) -> Result<Syntax, TemplateError> {
    let (mut tree, mut defines) = parse_text(name, text)?;
    let (prelude, _) = parse_text(name, PRELUDE)?;
    let mut pass = Pass { functions: function::names(), ..Pass::default() };
    tree.nodes.splice(0..0, prelude.nodes);
    pass.list(&mut tree);
    for define in &mut defines {
        pass.list(&mut define.body);
    }
    pass.finish(name)?;
    Ok(Syntax { tree, defines })
}

fn parse_text(name: &str, text: &str) -> Result<(ListNode, Vec<DefineNode>), TemplateError> {
    Parser::new(text, "{{", "}}").and_then(Parser::parse).map_err(|error| match error {
        EngineError::Parse { line, col, message, .. }
        | EngineError::Lex { line, col, message, .. } => {
            TemplateError::Syntax { template: name.to_owned(), line, column: col, message }
        }
        other => TemplateError::Render { template: name.to_owned(), message: other.to_string() },
    })
}

/// One walk over the whole tree.
#[derive(Default)]
struct Pass {
    functions: BTreeSet<String>,
    defined: BTreeSet<SmolStr>,
    used: Vec<SmolStr>,
    unknown_function: Option<SmolStr>,
}

impl Pass {
    fn finish(self, name: &str) -> Result<(), TemplateError> {
        let template = name.to_owned();
        if let Some(function) = self.unknown_function {
            return Err(TemplateError::UnknownFunction { template, name: function.to_string() });
        }
        match self.used.into_iter().find(|used| used != "$" && !self.defined.contains(used)) {
            Some(variable) => {
                Err(TemplateError::UnknownVariable { template, name: variable.to_string() })
            }
            None => Ok(()),
        }
    }

    fn list(&mut self, list: &mut ListNode) {
        for node in &mut list.nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &mut Node) {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => {
                self.pipe(&mut action.pipe);
                if action.pipe.decl.is_empty() {
                    let show = Expr::Identifier(action.pos, SmolStr::new(SHOW));
                    action.pipe.commands.push(CommandNode { pos: action.pos, args: vec![show] });
                }
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&mut branch.pipe);
                self.list(&mut branch.body);
                if let Some(otherwise) = &mut branch.else_body {
                    self.list(otherwise);
                }
            }
            Node::Template(template) => {
                if let Some(pipe) = &mut template.pipe {
                    self.pipe(pipe);
                }
            }
            Node::Define(define) => self.list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }

    fn pipe(&mut self, pipe: &mut PipeNode) {
        if !pipe.is_assign {
            self.defined.extend(pipe.decl.iter().cloned());
        }
        for command in &mut pipe.commands {
            bind_query(command);
            for argument in &mut command.args {
                self.expression(argument);
            }
        }
    }

    fn expression(&mut self, expression: &mut Expr) {
        bind_value(expression);
        match expression {
            Expr::Variable(_, name, _) => self.used.push(name.clone()),
            Expr::Identifier(_, name) => {
                if !self.functions.contains(name.as_str()) {
                    self.unknown_function.get_or_insert_with(|| name.clone());
                }
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expression(inner),
            Expr::Dot(_)
            | Expr::Field(..)
            | Expr::String(..)
            | Expr::Number(..)
            | Expr::Bool(..)
            | Expr::Nil(_) => {}
        }
    }
}

/// `query X` becomes `call $.answerer X`: functions are the same for all runs of a template, data
/// is not.
fn bind_query(command: &mut CommandNode) {
    let Some(Expr::Identifier(pos, name)) = command.args.first() else {
        return;
    };
    if name != "query" {
        return;
    }
    let pos: Pos = *pos;
    let call = Expr::Identifier(pos, SmolStr::new("call"));
    let answerer = Expr::Variable(pos, SmolStr::new("$"), vec![SmolStr::new(QUERY_FIELD)]);
    command.args.splice(0..1, [call, answerer]);
}

/// `now` becomes `$.field`, for the same reason.
fn bind_value(expression: &mut Expr) {
    let Expr::Identifier(pos, name) = expression else { return };
    if let Some((_, field)) = BOUND.iter().find(|(bound, _)| name == bound) {
        let pos: Pos = *pos;
        *expression = Expr::Variable(pos, SmolStr::new("$"), vec![SmolStr::new(field)]);
    }
}
