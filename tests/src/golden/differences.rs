//! Where a node answers otherwise than the recorded memcached, and why: the whole list.
//!
//! `proto/PROTOCOL.md` states each of them in the same words; a test holds that.

/// A difference that is meant.
#[derive(Debug)]
pub struct Difference {
    /// How the contract puts it.
    pub stated: &'static str,
    /// Why it stays.
    pub reason: &'static str,
    /// Where it shows.
    pub places: &'static [Place],
}

/// A step that shows a difference.
#[derive(Debug)]
pub struct Place {
    /// The file.
    pub file: &'static str,
    /// The case.
    pub case: &'static str,
    /// Which of its steps, from 0.
    pub step: usize,
    /// What a node answers, as the file would write it.
    pub ours: &'static str,
}

impl Difference {
    /// What a node answers at this step, when the difference shows there.
    #[must_use]
    pub fn ours(&self, file: &str, case: &str, step: usize) -> Option<&'static str> {
        let of_step = |place: &&Place| (place.file, place.case, place.step) == (file, case, step);
        self.places.iter().find(of_step).map(|place| place.ours)
    }
}

const fn place(file: &'static str, case: &'static str, step: usize, ours: &'static str) -> Place {
    Place { file, case, step, ours }
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        stated: "`k` and `me` answer in base64 when the request has `b`",
        reason: "an item has one key, however it was named when it was stored; a reply has the form the caller used",
        places: &[
            place("keys", "base64 in every command", 4, r"VA 2 kYmFzZTY0 b\r\n60\r\n"),
            place("keys", "base64 key made by vivify and arithmetic", 0, r"VA 0 kdml2aWZ5 b W\r\n\r\n"),
            place("keys", "base64 key made by vivify and arithmetic", 2, r"VA 0 kdml2aWZ5 b Z\r\n\r\n"),
            place("keys", "base64 key made by vivify and arithmetic", 4, r"VA 1 kY291bnRlcg== b\r\n5\r\n"),
            place(
                "keys",
                "key stored as text is shown as base64 on demand",
                1,
                r"VA 2 kcGxhaW5rZXk= b\r\nhi\r\n",
            ),
            place("keys", "key stored as base64 is shown as text on demand", 1, r"VA 2 kbasekey\r\nhi\r\n"),
            place(
                "keys",
                "key stored as base64 is shown as text on demand",
                3,
                r"ME basekey exp=-1 la=~ cas=@1 fetch=yes cls=~ size=~\r\n",
            ),
        ],
    },
    Difference {
        stated: "`me` with `b` looks the key up that the base64 stands for, and refuses what is no base64",
        reason: "memcached's document promises it; its release looks for another key",
        places: &[
            place(
                "debug_noop",
                "debug of a base64 key",
                1,
                r"ME ZGVidWc= exp=-1 la=~ cas=@1 fetch=no cls=~ size=~\r\n",
            ),
            place("keys", "no base64", 9, r"CLIENT_ERROR bad command line format\r\n"),
        ],
    },
    Difference {
        stated: "`t` of `mg` and `ma` tells what `T` and `N` of the same request have set, wherever they stand",
        reason: "one answer, whatever the order of the flags",
        places: &[place(
            "errors",
            "many words",
            1,
            r"VA 0 kerrors:many-words s0 f0 t~30 c5 h0 l~ O1 W\r\n\r\n",
        )],
    },
    Difference {
        stated: "`md` with `x` keeps the item's expiry",
        reason: "what was to expire must not live for ever because its value was dropped",
        places: &[place("md", "drop the value", 2, r"VA 0 f0 t~100 s0\r\n\r\n")],
    },
    Difference {
        stated: "An `ma` that is refused for its opaque has no effect",
        reason: "an error means that nothing was done",
        places: &[place("ma", "duplicate and unknown flags", 5, r"VA 1\r\n1\r\n")],
    },
    Difference {
        stated: "An `ms` with a flag that begins with neither a letter nor a digit swallows its value",
        reason: "a value must never be read as commands when its length is known",
        places: &[
            place("ms", "duplicate and unknown flags", 3, r"CLIENT_ERROR bad command line format\r\n"),
            place(
                "errors",
                "bytes that are no flags in the other commands",
                1,
                r"CLIENT_ERROR invalid or duplicate flag\r\n",
            ),
        ],
    },
    Difference {
        stated: "A line of one word that is no command, and a classic command with the wrong number of words, is `ERROR`",
        reason: "classic text is that of 1.6.18, which clients have been written against for longer",
        places: &[
            place("errors", "unknown commands that look like meta", 1, r"ERROR\r\n"),
            place("errors", "classic errors beside meta", 0, r"ERROR\r\n"),
            place("errors", "classic errors beside meta", 1, r"ERROR\r\n"),
            place("ms", "length missing or none", 4, r"CLIENT_ERROR bad command line format\r\nERROR\r\n"),
            place("ms", "value longer than announced", 1, r"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
            place(
                "ms",
                "value longer than announced with flags",
                0,
                r"CLIENT_ERROR bad data chunk\r\nERROR\r\n",
            ),
            place("ms", "value shorter than announced", 0, r"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
        ],
    },
];
