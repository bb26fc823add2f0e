//! `for` loops and their variable `loop`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::calls::Args;
use super::frames::Variables;
use super::iteration::{iterate, length};
use super::loop_state::Loop;
use super::operators;
use super::renderer::{Flow, Renderer};
use super::syntax::For;
use super::value::{Evaluated, Items, Iterator, Value, shortened};

/// The methods of `loop`.
const METHODS: [&str; 2] = ["cycle", "changed"];

impl Renderer<'_> {
    pub fn for_loop(&mut self, node: &Arc<For>) -> Evaluated<Flow> {
        let iterable = self.eval(&node.iter)?;
        let outer = self.variables.clone();
        if !node.recursive {
            return self.run_loop(node, &iterable, outer, 0);
        }
        let text = self.recursive(node, &iterable, outer, 0)?;
        self.write(&text)?;
        Ok(Flow::Next)
    }

    /// The text of a recursive loop over `iterable`.
    fn recursive(
        &mut self,
        node: &Arc<For>,
        iterable: &Value,
        outer: Rc<Variables>,
        depth: usize,
    ) -> Evaluated<String> {
        self.fuel.spend(node.slots)?;
        let inner = Variables::new(node.slots, Some(outer.clone()));
        self.within(inner, |renderer| {
            renderer.captured_text(|renderer| renderer.run_loop(node, iterable, outer, depth)).map(|(text, _)| text)
        })
    }

    /// Runs a loop that is `depth` recursions deep, with the variables around it.
    fn run_loop(&mut self, node: &Arc<For>, iterable: &Value, outer: Rc<Variables>, depth: usize) -> Evaluated<Flow> {
        let is_lazy = node.test.is_some() || matches!(iterable, Value::Iterator(_));
        let state = Rc::new(Loop {
            node: node.clone(),
            items: RefCell::new(iterate(iterable, &self.fuel)?),
            accepted: Cell::new(node.test.is_none()),
            length: Cell::new(if is_lazy { None } else { length(iterable, &self.fuel)? }),
            outer: Rc::downgrade(&outer),
            depth,
            taken: Cell::new(0),
            after: RefCell::default(),
            current: RefCell::default(),
            before: RefCell::default(),
            changed: RefCell::default(),
        });
        // As in Jinja, a body that `break` or `continue` ends early does not count for the `else` branch.
        let mut finished = false;
        while let Some(item) = self.advance(&state)? {
            self.fuel.spend(1)?;
            self.assign(&node.target, item)?;
            if let Some(name) = &node.variable {
                self.variables.set(name.place, Some(Value::Loop(state.clone())));
            }
            self.enter(&node.scope)?;
            match self.nodes(&node.body)? {
                Flow::Next => finished = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        self.leave(&node.scope);
        if finished || node.otherwise.is_empty() {
            return Ok(Flow::Next);
        }
        self.enter(&node.otherwise_scope)?;
        let flow = self.nodes(&node.otherwise)?;
        self.leave(&node.otherwise_scope);
        Ok(flow)
    }

    /// Takes the next item.
    fn advance(&mut self, state: &Loop) -> Evaluated<Option<Value>> {
        let peeked = state.after.take();
        let item = match peeked {
            Some(item) => Some(item),
            None => self.pull(state)?,
        };
        if let Some(item) = &item {
            state.taken.set(state.taken.get() + 1);
            state.before.replace(state.current.replace(Some(item.clone())));
        }
        Ok(item)
    }

    /// The next item that the loop's condition accepts.
    fn pull(&mut self, state: &Loop) -> Evaluated<Option<Value>> {
        let test = state.node.test.as_ref().filter(|_| !state.accepted.get());
        let Some(test) = test else { return Ok(state.items.borrow().next()) };
        let outer = state.outer.upgrade().ok_or("a loop is used outside the place where it runs")?;
        loop {
            let Some(item) = state.items.borrow().next() else { return Ok(None) };
            self.fuel.spend(1)?;
            let accepted = self.within(outer.clone(), |renderer| {
                renderer.assign(&test.target, item.clone())?;
                renderer.enter(&test.scope)?;
                let accepted = renderer.eval(&test.condition)?.is_true();
                renderer.leave(&test.scope);
                Ok(accepted)
            })?;
            if accepted {
                return Ok(Some(item));
            }
        }
    }

    fn peek(&mut self, state: &Loop) -> Evaluated<Option<Value>> {
        if state.after.borrow().is_none() {
            let item = self.pull(state)?;
            state.after.replace(item);
        }
        Ok(state.after.borrow().clone())
    }

    pub fn loop_length(&mut self, state: &Loop) -> Evaluated<usize> {
        if let Some(length) = state.length.get() {
            return Ok(length);
        }
        // A generator is walked to its end.
        let mut rest = Vec::new();
        let after = state.after.borrow().is_some();
        while let Some(item) = self.pull(state)? {
            self.fuel.spend(1)?;
            rest.push(item);
        }
        let length = rest.len() + state.taken.get() + usize::from(after);
        state
            .items
            .replace(Rc::new(Iterator { items: Rc::new(Items::new(rest, &self.fuel)?), position: Cell::new(0) }));
        state.accepted.set(true);
        state.length.set(Some(length));
        Ok(length)
    }

    pub fn loop_attribute(&mut self, state: &Rc<Loop>, name: &str) -> Evaluated<Value> {
        let taken = state.taken.get();
        Ok(match name {
            "index" => Value::int(taken),
            "index0" => Value::Int(i128::try_from(taken).unwrap_or_default() - 1),
            "first" => Value::Bool(taken == 1),
            "last" => Value::Bool(self.peek(state)?.is_none()),
            "length" => Value::int(self.loop_length(state)?),
            "revindex" => Value::int((self.loop_length(state)? + 1).saturating_sub(taken)),
            "revindex0" => Value::int(self.loop_length(state)?.saturating_sub(taken)),
            "depth" => Value::int(state.depth + 1),
            "depth0" => Value::int(state.depth),
            "previtem" => match state.before.borrow().clone() {
                Some(item) => item,
                None => Value::undefined("there is no previous item"),
            },
            "nextitem" => self.peek(state)?.unwrap_or_else(|| Value::undefined("there is no next item")),
            _ => match METHODS.into_iter().find(|method| *method == name) {
                Some(method) => Value::Method(Rc::new((Value::Loop(state.clone()), method))),
                None => Value::undefined(format!("a loop has no attribute `{}`", shortened(name))),
            },
        })
    }

    pub fn loop_method(&mut self, state: &Loop, method: &str, args: Args) -> Evaluated<Value> {
        let values = args.only_positional(method)?;
        if method == "cycle" {
            let place = state.taken.get().saturating_sub(1).checked_rem(values.len());
            return place.map(|place| values[place].clone()).ok_or_else(|| "no items for cycling given".into());
        }
        let values = Value::tuple(values, &self.fuel)?;
        // A loop that held itself would never be freed.
        if values.has_state() {
            return Err("`loop.changed` of a value that can change is not supported".into());
        }
        let known = state.changed.borrow().clone();
        let is_changed = match known {
            Some(known) => !operators::equal(&known, &values, &self.fuel)?,
            None => true,
        };
        if is_changed {
            state.changed.replace(Some(values));
        }
        Ok(Value::Bool(is_changed))
    }

    /// `loop(items)`: the body of a recursive loop over inner items.
    pub fn recurse(&mut self, state: &Loop, args: Args) -> Evaluated<Value> {
        let [items] = args.bind("loop", ["iterable"], 1)?;
        if !state.node.recursive {
            return Err("only a recursive loop can be called".into());
        }
        let outer = state.outer.upgrade().ok_or("a loop is called outside the place where it runs")?;
        let items = items.unwrap_or(Value::None);
        let text = self.deeper(|renderer| renderer.recursive(&state.node, &items, outer, state.depth + 1))?;
        Ok(Value::str(text))
    }
}
