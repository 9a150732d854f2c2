//! Panics of tasks that nobody waits for: a client's own, a connection's. They are seen nowhere else.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics of this thread are remembered, and reported as before.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            PANICS.with_borrow_mut(|panics| panics.push(panicked.to_string()));
            before(panicked);
        }));
    });
    take();
}

/// Those since the last time.
pub(crate) fn take() -> Vec<String> {
    PANICS.take()
}
