//! Texts that many objects have in common: namespaces, names of ports. Each is kept once.

use std::sync::Arc;

use dunlin_intent::Fact;

/// How many texts are remembered. Lists come in order, so that few are enough.
const REMEMBERED: usize = 16;

/// The texts met last.
#[derive(Debug, Default)]
pub(super) struct Texts {
    met: Vec<Arc<str>>,
    /// Which is forgotten next.
    next: usize,
}

impl Texts {
    /// Has a fact share with others what they say as well.
    pub(super) fn share(&mut self, fact: &mut Fact) {
        match fact {
            Fact::Service(service) => {
                self.one(&mut service.name.namespace);
                let ports = service.ports.iter_mut();
                ports.for_each(|port| self.one(&mut port.name));
            }
            Fact::EndpointSlice(slice) => {
                self.one(&mut slice.name.namespace);
                let ports = slice.ports.iter_mut();
                ports.for_each(|port| self.one(&mut port.name));
            }
            _ => {}
        }
    }

    fn one(&mut self, text: &mut Arc<str>) {
        match self.met.iter().find(|met| *met == text) {
            Some(met) => *text = met.clone(),
            None if self.met.len() < REMEMBERED => self.met.push(text.clone()),
            None => {
                self.met[self.next] = text.clone();
                self.next = (self.next + 1) % REMEMBERED;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_say_is_kept_once_and_little_is_remembered() {
        let mut texts = Texts::default();
        let mut first: Arc<str> = "default".into();
        texts.one(&mut first);
        let mut again: Arc<str> = "default".into();
        texts.one(&mut again);
        assert!(Arc::ptr_eq(&first, &again));
        for number in 0..1_000 {
            texts.one(&mut number.to_string().into());
        }
        assert_eq!(texts.met.len(), REMEMBERED);
        let mut last: Arc<str> = "999".into();
        texts.one(&mut last);
        assert_eq!(Arc::strong_count(&last), 2);
        assert_eq!(Arc::strong_count(&first), 2);
    }
}
