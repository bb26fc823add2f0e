//! The program of a pickle, interpreted without running any code: the few instructions with which PyTorch describes tensors.
//!
//! Why own code: candle's reader copies every object that a program recalls, so that a short program can fill any memory.
//! Here every object is a node of one list and refers to others by number, so the memory grows with the length of the
//! program only.

use std::collections::HashMap;

/// A node, by its number.
pub type Id = usize;

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A class or function, `module.name`.
    Global(String),
    Integer(i64),
    Text(String),
    Tuple(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    /// A function and its arguments.
    Call(Id, Id),
    /// A persistent object: something that is kept outside of the pickle.
    External(Id),
    /// Anything that says nothing about tensors.
    Other,
}

/// The objects that a program builds, and which of them is its result.
#[derive(Debug)]
pub struct Objects {
    pub nodes: Vec<Node>,
    pub root: Id,
}

struct Machine<'a> {
    program: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// The heights of the stack at which argument lists begin.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Interpreted<T> = Result<T, String>;

/// Interprets a program to its end.
pub fn interpret(program: &[u8]) -> Interpreted<Objects> {
    let mut machine =
        Machine { program, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Objects { nodes: machine.nodes, root })
}

impl<'a> Machine<'a> {
    /// Interprets one instruction; `false` after the last.
    fn step(&mut self) -> Interpreted<bool> {
        match self.number::<1>()?[0] {
            0x80 => drop(self.number::<1>()?),
            b'.' => return Ok(false),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(format!("{module}.{name}")));
            }
            b'K' => {
                let [byte] = self.number()?;
                self.push(Node::Integer(byte.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.number()?);
                self.push(Node::Integer(number.into()));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.number()?);
                self.push(Node::Integer(number.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.number()?);
                let text = self.take(length as usize)?;
                let text = std::str::from_utf8(text).map_err(|_| "a text in it is not UTF-8")?;
                self.push(Node::Text(text.into()));
            }
            b'G' => {
                self.number::<8>()?;
                self.push(Node::Other);
            }
            b'N' | 0x88 | 0x89 | b']' => self.push(Node::Other),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dictionary(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            count @ 0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(count - 0x84)).ok_or_else(stack_underflow)?;
                let items = self.stack.split_off(start);
                self.push(Node::Tuple(items));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Dictionary(pairs(&items)));
            }
            // Lists hold nothing of interest.
            b'a' => drop(self.pop()?),
            b'e' => drop(self.pop_to_mark()?),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(pairs(&items))?;
            }
            b'R' | 0x81 => self.call()?,
            // The state of an object.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::External(id));
            }
            b'q' => {
                let [place] = self.number()?;
                self.store(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.number()?);
                self.store(place)?;
            }
            b'h' => {
                let [place] = self.number()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.number()?);
                self.recall(place)?;
            }
            other => return Err(format!("its instruction {other:#04x} is not one that describes tensors")),
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Interpreted<&'a [u8]> {
        let (taken, rest) = self.program.split_at_checked(count).ok_or("its pickle ends too early")?;
        self.program = rest;
        Ok(taken)
    }

    fn number<const SIZE: usize>(&mut self) -> Interpreted<[u8; SIZE]> {
        let mut number = [0; SIZE];
        number.copy_from_slice(self.take(SIZE)?);
        Ok(number)
    }

    fn line(&mut self) -> Interpreted<String> {
        let end = self.program.iter().position(|&byte| byte == b'\n').ok_or("its pickle ends too early")?;
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    /// An integer with its own length.
    fn long(&mut self) -> Interpreted<()> {
        let [length] = self.number()?;
        let bytes = self.take(length.into())?;
        let mut number = [if bytes.last().is_some_and(|&byte| byte > 127) { 255 } else { 0 }; 8];
        let low = number.get_mut(..bytes.len()).ok_or("an integer in it is too large")?;
        low.copy_from_slice(bytes);
        self.push(Node::Integer(i64::from_le_bytes(number)));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Interpreted<Id> {
        self.stack.pop().ok_or_else(stack_underflow)
    }

    fn pop_to_mark(&mut self) -> Interpreted<Vec<Id>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or_else(stack_underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn set_items(&mut self, items: Vec<(Id, Id)>) -> Interpreted<()> {
        let &top = self.stack.last().ok_or_else(stack_underflow)?;
        match &mut self.nodes[top] {
            Node::Dictionary(entries) => entries.extend(items),
            _ => return Err("it sets items of an object that is not a dictionary".into()),
        }
        Ok(())
    }

    fn call(&mut self) -> Interpreted<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let is_dictionary = matches!(&self.nodes[function], Node::Global(name) if name.starts_with("collections."));
        self.push(if is_dictionary { Node::Dictionary(Vec::new()) } else { Node::Call(function, arguments) });
        Ok(())
    }

    fn store(&mut self, place: u32) -> Interpreted<()> {
        let &top = self.stack.last().ok_or_else(stack_underflow)?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Interpreted<()> {
        let id = self.memo.get(&place).ok_or("it recalls an object that it never stored")?;
        self.stack.push(*id);
        Ok(())
    }
}

fn stack_underflow() -> String {
    "its pickle pops more objects than it pushed".into()
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    let (pairs, _) = items.as_chunks::<2>();
    pairs.iter().map(|&[key, value]| (key, value)).collect()
}
