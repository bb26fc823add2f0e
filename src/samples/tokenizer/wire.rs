//! Questions and answers as bytes, for the pipes between this process and the one that runs the tokenizer.
//!
//! A message is a byte for its kind, its length (8 bytes, little-endian), and that many bytes. Both ends are the same program;
//! lengths are checked all the same, because a tokenizer decides how long an answer is.

use std::io::{self, ErrorKind, Read, Write};

use tokenizers::AddedToken;

use super::engine::{Answer, EncodeHow, Question, TokenizedText};

/// A message as it is sent.
#[derive(Debug)]
pub struct PipeMessage {
    kind: u8,
    pub bytes: Vec<u8>,
}

const LOAD: u8 = b'L';
const ADD: u8 = b'A';
const ENCODE: u8 = b'E';
const DECODE: u8 = b'D';
const ID: u8 = b'I';
const FACTS: u8 = b'F';
const TOKENS: u8 = b'N';
const TEXT: u8 = b'T';
const FAILED: u8 = b'X';

fn malformed() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// Writes a message whose bytes come in parts, so that none has to be copied.
fn send(to: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut head = vec![kind];
    head.extend((length as u64).to_le_bytes());
    to.write_all(&head)?;
    parts.iter().try_for_each(|part| to.write_all(part))?;
    to.flush()
}

impl PipeMessage {
    /// Reads a message of at most `longest` bytes; `None` at the end.
    pub fn read(from: &mut impl Read, longest: u64) -> io::Result<Option<Self>> {
        let mut head = [0; 9];
        if from.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..])?;
        let length = u64::from_le_bytes(head[1..].try_into().map_err(|_| malformed())?);
        if length > longest {
            return Err(ErrorKind::FileTooLarge.into());
        }
        // Nothing is reserved on the strength of a length.
        let mut bytes = Vec::new();
        if from.take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Self { kind: head[0], bytes }))
    }

    /// The question that the message asks; `ids` has the room for those of one.
    pub fn question<'a>(&'a self, ids: &'a mut Vec<u32>) -> io::Result<Question<'a>> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| malformed());
        match self.kind {
            LOAD => Ok(Question::Load(&self.bytes)),
            ADD => {
                let (tokens, splits_special): (Vec<AddedToken>, bool) = serde_json::from_slice(&self.bytes)?;
                Ok(Question::Add { tokens, splits_special })
            }
            ENCODE => {
                let (how, rest) = self.bytes.split_at_checked(10).ok_or_else(malformed)?;
                let most = u64::from_le_bytes(how[2..].try_into().map_err(|_| malformed())?);
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let how = EncodeHow { adds_special: how[0] == 1, offsets: how[1] == 1, most };
                Ok(Question::Encode { text: text(rest)?, how })
            }
            DECODE => {
                let (skips, rest) = self.bytes.split_at_checked(1).ok_or_else(malformed)?;
                *ids = numbers(rest);
                Ok(Question::Decode { ids, skips_special: skips == [1] })
            }
            ID => Ok(Question::Id { token: text(&self.bytes)? }),
            _ => Err(malformed()),
        }
    }

    /// The answer that the message is.
    pub fn answer(self) -> io::Result<Answer> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_| malformed());
        match self.kind {
            FACTS => Ok(Answer::Facts(serde_json::from_slice(&self.bytes)?)),
            TOKENS => {
                let numbers = numbers(&self.bytes);
                let ([total, count], rest) = numbers.split_first_chunk().ok_or_else(malformed)?;
                let (ids, offsets) = rest.split_at_checked(*count as usize).ok_or_else(malformed)?;
                let offsets = offsets.as_chunks().0.iter().map(|&[from, to]| (from, to)).collect();
                Ok(Answer::Tokens(TokenizedText { ids: ids.into(), offsets, total: *total as usize }))
            }
            TEXT => Ok(Answer::Text(text(self.bytes)?)),
            ID => Ok(Answer::Id(numbers(&self.bytes).first().copied())),
            FAILED => Ok(Answer::Failed(text(self.bytes)?)),
            _ => Err(malformed()),
        }
    }
}

impl Question<'_> {
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Load(json) => send(to, LOAD, &[json]),
            Self::Add { tokens, splits_special } => send(to, ADD, &[&serde_json::to_vec(&(tokens, splits_special))?]),
            Self::Encode { text, how } => {
                let flags = [u8::from(how.adds_special), u8::from(how.offsets)];
                send(to, ENCODE, &[&flags, &(how.most as u64).to_le_bytes(), text.as_bytes()])
            }
            Self::Decode { ids, skips_special } => {
                send(to, DECODE, &[&[u8::from(*skips_special)], &bytes(ids.iter().copied())])
            }
            Self::Id { token } => send(to, ID, &[token.as_bytes()]),
        }
    }
}

impl Answer {
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Facts(facts) => send(to, FACTS, &[&serde_json::to_vec(facts)?]),
            Self::Tokens(tokens) => {
                let size = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let head = [size(tokens.total), size(tokens.ids.len())];
                let offsets = tokens.offsets.iter().flat_map(|&(from, to)| [from, to]);
                send(to, TOKENS, &[&bytes(head.into_iter().chain(tokens.ids.iter().copied()).chain(offsets))])
            }
            Self::Text(text) => send(to, TEXT, &[text.as_bytes()]),
            Self::Id(id) => send(to, ID, &[&bytes(id.iter().copied())]),
            Self::Failed(reason) => send(to, FAILED, &[reason.as_bytes()]),
        }
    }
}

fn bytes(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&number| u32::from_le_bytes(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(answer: Answer) {
        let mut sent = Vec::new();
        answer.send(&mut sent).unwrap();
        let message = PipeMessage::read(&mut &*sent, 1 << 20).unwrap().unwrap();
        assert_eq!(message.answer().unwrap(), answer);
        assert!(PipeMessage::read(&mut &sent[..sent.len() - 1], 1 << 20).is_err(), "cut short");
        assert!(PipeMessage::read(&mut &*sent, 0).is_err() || sent.len() == 9, "longer than allowed");
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        there_and_back(Answer::Text("é".into()));
        there_and_back(Answer::Id(None));
        there_and_back(Answer::Id(Some(7)));
        there_and_back(Answer::Failed("why".into()));
        there_and_back(Answer::Facts(Box::default()));
        let tokens = TokenizedText { ids: vec![1, 2, u32::MAX], offsets: vec![(0, 1), (1, 2), (2, 9)], total: 5 };
        there_and_back(Answer::Tokens(tokens.clone()));
        there_and_back(Answer::Tokens(TokenizedText { offsets: Vec::new(), ..tokens }));
    }

    #[test]
    fn questions_arrive_as_they_were_sent() {
        let how = EncodeHow { adds_special: true, offsets: false, most: 9 };
        for question in [
            Question::Load(b"{}"),
            Question::Encode { text: "é", how },
            Question::Decode { ids: &[3, 4], skips_special: true },
            Question::Id { token: "</s>" },
        ] {
            let (mut sent, mut ids) = (Vec::new(), Vec::new());
            question.send(&mut sent).unwrap();
            let message = PipeMessage::read(&mut &*sent, 1 << 20).unwrap().unwrap();
            assert_eq!(format!("{:?}", message.question(&mut ids).unwrap()), format!("{question:?}"));
        }
        assert!(PipeMessage { kind: b'?', bytes: Vec::new() }.question(&mut Vec::new()).is_err());
        assert!(PipeMessage { kind: b'?', bytes: Vec::new() }.answer().is_err());
    }
}
