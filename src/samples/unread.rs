//! What conversations hold that their chat template does not read. transformers and TRL pass it on, too, and nothing comes of it.

use std::collections::BTreeSet;

use super::{RawSample, SampleContent, TextModel};
use crate::account::is_set;
use crate::format::first_names;

/// The most names that the remark has.
const MOST_NAMES: usize = 10;

/// One sentence on the keys of turns, and on what is given beside them, that no template in use has the name of.
pub fn by_template<'a>(samples: impl IntoIterator<Item = &'a RawSample>, text: &TextModel) -> Option<String> {
    let mut unread: BTreeSet<&str> = BTreeSet::new();
    for sample in samples {
        let SampleContent::Chat { messages, context, .. } = &sample.content else { continue };
        let Some(template) = text.template_for(context) else { continue };
        let lists = [("tools", &context.tools), ("documents", &context.documents)];
        let given = lists.into_iter().filter(|(_, list)| list.as_ref().is_some_and(is_set)).map(|(name, _)| name);
        let variables = given.chain(context.kwargs.keys().map(String::as_str));
        unread.extend(variables.filter(|name| !template.may_read_variable(name)));
        let fields = messages.iter().flat_map(|message| &message.fields).filter(|(_, value)| is_set(value));
        unread.extend(fields.map(|(key, _)| key.as_str()).filter(|key| !template.may_read_key(key)));
    }
    let names: Vec<&str> = unread.into_iter().collect();
    let names_in_words = first_names(&names, MOST_NAMES);
    (!names.is_empty()).then(|| format!("the chat template does not read {names_in_words} of the conversations"))
}
