//! From the bytes of a pickle to its parts: the machine that pickles are written for, without
//! everything that would call something.

use super::{Error, Id, Item};

pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Item<'_>>, Id), Error> {
    let mut machine = Machine {
        bytes,
        at: 0,
        items: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    loop {
        let code = machine.u8()?;
        if code == b'.' {
            let root = machine.pop()?;
            return match machine.at == bytes.len() {
                true => Ok((machine.items, root)),
                false => Err(machine.wrong("something follows it")),
            };
        }
        machine.step(code)?;
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    items: Vec<Item<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8) -> Result<(), Error> {
        match code {
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop_any(),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => self.top().map(|top| self.stack.push(top)),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(code),
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.scalar(code),
            0x8c | b'X' | 0x8d | b'C' | b'B' | 0x8e | 0x96 => self.text(code),
            b']' | b')' | 0x8f => self.push(Item::List(Vec::new())),
            0x85..=0x87 => self.short_tuple(usize::from(code - 0x84)),
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Item::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(items)
            }
            b'}' => self.push(Item::Dict(Vec::new())),
            b'd' | b's' | b'u' => self.dictionary(code),
            b'c' | 0x93 => self.name(code),
            b'R' | 0x81 | 0x92 | b'b' => self.object(code),
            _ => Err(self.wrong("a code that plain data has no use for")),
        }
    }

    fn wrong(&self, reason: &'static str) -> Error {
        Error::Layout { reason, at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.wrong("it is cut off"))?;
        self.at += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        taken.try_into().ok().ok_or_else(|| self.wrong("it is cut off"))
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.fixed().map(|[byte]| byte)
    }

    fn length<const N: usize>(&mut self) -> Result<usize, Error> {
        let mut wide = [0; 8];
        let bytes: [u8; N] = self.fixed()?;
        wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let length = usize::try_from(u64::from_le_bytes(wide));
        length.ok().ok_or_else(|| self.wrong("it is cut off"))
    }

    fn push(&mut self, item: Item<'a>) -> Result<(), Error> {
        let id = Id::try_from(self.items.len()).ok().ok_or(Error::TooLarge)?;
        self.items.push(item);
        self.stack.push(id);
        Ok(())
    }

    /// The item on top; never one below a mark.
    fn pop(&mut self) -> Result<Id, Error> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let popped = (self.stack.len() > floor).then(|| self.stack.pop()).flatten();
        popped.ok_or_else(|| self.wrong("it takes what is not there"))
    }

    fn top(&mut self) -> Result<Id, Error> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    /// Everything above the latest mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Error> {
        let floor = self.marks.pop().ok_or_else(|| self.wrong("it takes what is not there"))?;
        Ok(self.stack.split_off(floor))
    }

    /// A mark that stands on top goes as an item does.
    fn pop_any(&mut self) -> Result<(), Error> {
        if self.marks.last() == Some(&self.stack.len()) {
            return self.pop_mark().map(|_| ());
        }
        self.pop().map(|_| ())
    }

    fn memo(&mut self, code: u8) -> Result<(), Error> {
        let slot = match code {
            0x94 => self.memo.len(),
            b'q' | b'h' => usize::from(self.u8()?),
            _ => self.length::<4>()?,
        };
        if matches!(code, b'h' | b'j') {
            let known = self.memo.get(slot).copied().flatten();
            let known = known.ok_or_else(|| self.wrong("it refers to what is not there"))?;
            self.stack.push(known);
            return Ok(());
        }
        let top = self.top()?;
        // Slots are given in order; a large one without those before would reserve for nothing.
        if slot > self.at {
            return Err(self.wrong("it refers to what is not there"));
        }
        if self.memo.len() <= slot {
            self.memo.resize(slot + 1, None);
        }
        if let Some(place) = self.memo.get_mut(slot) {
            *place = Some(top);
        }
        Ok(())
    }

    fn scalar(&mut self, code: u8) -> Result<(), Error> {
        let item = match code {
            b'N' => Item::None,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'J' => Item::Int(i32::from_le_bytes(self.fixed()?).into()),
            b'K' => Item::Int(self.u8()?.into()),
            b'M' => Item::Int(u16::from_le_bytes(self.fixed()?).into()),
            b'G' => Item::Float(f64::from_be_bytes(self.fixed()?)),
            _ => {
                let length = if code == 0x8a { self.length::<1>()? } else { self.length::<4>()? };
                long(self.take(length)?)
            }
        };
        self.push(item)
    }

    fn text(&mut self, code: u8) -> Result<(), Error> {
        let length = match code {
            0x8c | b'C' => self.length::<1>()?,
            b'X' | b'B' => self.length::<4>()?,
            _ => self.length::<8>()?,
        };
        let bytes = self.take(length)?;
        let item = match code {
            b'C' | b'B' | 0x8e | 0x96 => Item::Bytes(bytes),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Item::Text(text),
                Err(_) => return Err(self.wrong("its text is no UTF-8")),
            },
        };
        self.push(item)
    }

    fn short_tuple(&mut self, count: usize) -> Result<(), Error> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<Id>, Error>>()?;
        items.reverse();
        self.push(Item::List(items))
    }

    /// The item on top, to be changed.
    fn top_item(&mut self) -> Result<&mut Item<'a>, Error> {
        let top = self.top()?;
        let wrong = self.wrong("it takes what is not there");
        self.items.get_mut(top as usize).ok_or(wrong)
    }

    fn extend(&mut self, more: Vec<Id>) -> Result<(), Error> {
        match self.top_item()? {
            Item::List(items) => items.extend(more),
            // A list with a type of its own.
            Item::Object(_) => {}
            _ => return Err(self.wrong("it adds to what is no list")),
        }
        Ok(())
    }

    fn dictionary(&mut self, code: u8) -> Result<(), Error> {
        let flat = match code {
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.pop_mark()?,
        };
        if code == b'd' {
            self.push(Item::Dict(Vec::new()))?;
        }
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong("a key has no value"));
        }
        match self.top_item()? {
            Item::Dict(entries) => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            Item::Object(_) => {}
            _ => return Err(self.wrong("it adds to what is no dictionary")),
        }
        Ok(())
    }

    fn name(&mut self, code: u8) -> Result<(), Error> {
        let name = match code {
            b'c' => format!("{}.{}", self.line()?, self.line()?),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.item(module), self.item(name)) {
                    (Item::Text(module), Item::Text(name)) => format!("{module}.{name}"),
                    _ => return Err(self.wrong("a name is no text")),
                }
            }
        };
        let name = name.strip_prefix("builtins.").unwrap_or(&name);
        self.push(Item::Name(name.into()))
    }

    fn line(&mut self) -> Result<&'a str, Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        let length = length.ok_or_else(|| self.wrong("it is cut off"))?;
        let line = self.take(length + 1)?.get(..length).unwrap_or_default();
        std::str::from_utf8(line).ok().ok_or_else(|| self.wrong("its text is no UTF-8"))
    }

    /// What is called, made or changed here is of no use to anybody but for its type.
    fn object(&mut self, code: u8) -> Result<(), Error> {
        if code == b'b' {
            self.pop()?;
            return match self.top_item()? {
                Item::Object(_) => Ok(()),
                _ => Err(self.wrong("it changes what is no object")),
            };
        }
        if code == 0x92 {
            self.pop()?;
        }
        let (arguments, made_by) = (self.pop()?, self.pop()?);
        let name = match self.item(made_by) {
            Item::Name(name) | Item::Object(name) => name.clone(),
            _ => return Err(self.wrong("it calls what is no function")),
        };
        // Dictionaries by another name; what they hold follows.
        if matches!(&*name, "collections.OrderedDict" | "collections.defaultdict") {
            return self.push(Item::Dict(Vec::new()));
        }
        let name = self.made(name, arguments);
        self.push(Item::Object(name))
    }

    fn item(&self, id: Id) -> &Item<'a> {
        self.items.get(id as usize).unwrap_or(&Item::None)
    }

    /// The name of what is made: where a helper makes it, its arguments tell.
    fn made(&self, function: Box<str>, arguments: Id) -> Box<str> {
        let Item::List(arguments) = self.item(arguments) else { return function };
        let argument = |index: usize| arguments.get(index).map(|id| self.item(*id));
        match (&*function, argument(0), argument(1)) {
            ("copyreg._reconstructor", Some(Item::Name(name) | Item::Object(name)), _) => {
                name.clone()
            }
            ("cloudpickle.cloudpickle._make_skeleton_class", _, Some(Item::Text(name))) => {
                (*name).into()
            }
            ("cloudpickle.cloudpickle._make_function", ..) => "function".into(),
            _ => function,
        }
    }
}

/// Two's complement, the lowest byte first.
fn long<'a>(bytes: &[u8]) -> Item<'a> {
    let negative = bytes.last().is_some_and(|last| *last >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut wide = [fill; 16];
    if bytes.len() > wide.len() {
        return Item::Long(bytes.len());
    }
    wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Item::Int(i128::from_le_bytes(wide))
}
