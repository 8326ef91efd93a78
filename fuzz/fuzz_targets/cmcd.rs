//! CMCD: a payload that is a dictionary of structured fields says what the
//! dictionary says; the query argument says what the header says; what is
//! malformed says nothing.
#![no_main]

use gatemeter_core::signals::Room;
use gatemeter_core::signals::cmcd::{Cmcd, ObjectType, PlayerState, argument};
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parser};

fuzz_target!(|line: &[u8]| {
    // As a path, whatever it is.
    if let Some(value) = argument(line) {
        let text = String::from_utf8_lossy(line);
        let query = text.split_once('?').expect("a query").1;
        let query = query.split('#').next().unwrap_or_default();
        let first = query.split('&').find_map(|pair| pair.strip_prefix("CMCD="));
        assert_eq!(first, Some(&*String::from_utf8_lossy(value)));
        let mut said = Cmcd::default();
        let read = said.argument(value, &mut Room::default());
        assert!(read.is_ok() || said == Cmcd::default());
    }

    let mut said = Cmcd::default();
    let read = said.header(line, &mut Room::default());
    assert!(read.is_ok() || said == Cmcd::default());
    if !has_room(line) {
        return;
    }
    let escaped: String = line.iter().map(|byte| format!("%{byte:02x}")).collect();
    if escaped.len() < 900 {
        let path = format!("/v.m4s?x=1&CMCD={escaped}&y");
        let value = argument(path.as_bytes()).expect("an argument");
        let mut queried = Cmcd::default();
        let read_too = queried.argument(value, &mut Room::default());
        assert_eq!(read, read_too);
        assert_eq!(said, queried);
    }

    let Ok(dictionary) = Parser::new(line).parse::<Dictionary>() else {
        return;
    };
    if cannot_tell(line, &dictionary) {
        return;
    }
    match (read, expected(&dictionary)) {
        (Ok(()), Ok(expected)) => assert_eq!(said, expected),
        (Ok(()), Err(())) => panic!("a value of another type was read"),
        // Of a repeated key the dictionary keeps the last value only; a line
        // with a first one of another type is refused.
        (Err(_), Ok(_)) => {
            let keys = line.iter().filter(|byte| **byte == b',').count() + 1;
            assert!(keys > dictionary.len());
        }
        (Err(_), Err(())) => {}
    }
});

/// Where the dictionary does not say how something was written: `ot` or
/// `ot=?1`, `-0` or `0`, `;v;v=?0` or `;v=?0`.
fn cannot_tell(line: &[u8], dictionary: &Dictionary) -> bool {
    let bare = |key: &str| {
        let entry = dictionary.get(key);
        matches!(entry, Some(ListEntry::Item(item)) if item.bare_item.as_boolean() == Some(true))
    };
    let replaced = |list: &InnerList| {
        let mut params = list.items.iter().flat_map(|item| item.params.iter());
        params.any(|(key, value)| object_type(key.as_str()) && value.as_boolean() != Some(true))
    };
    let bitrate = dictionary.get("br");
    line.windows(2).any(|pair| pair == b"-0")
        || bare("ot")
        || bare("sta")
        || matches!(bitrate, Some(ListEntry::InnerList(list)) if replaced(list))
}

fn object_type(key: &str) -> bool {
    ["m", "a", "v", "av", "i", "c", "tt", "k", "o"].contains(&key)
}

/// What the keys say that are read.
fn expected(dictionary: &Dictionary) -> Result<Cmcd, ()> {
    let item = |key: &str| match dictionary.get(key) {
        None => Ok(None),
        Some(ListEntry::Item(Item { bare_item, .. })) => Ok(Some(bare_item)),
        Some(ListEntry::InnerList(_)) => Err(()),
    };
    let boolean = |key: &str| match item(key)? {
        None => Ok(false),
        Some(BareItem::Boolean(value)) => Ok(*value),
        Some(BareItem::Token(token)) if token.as_str() == "true" => Ok(true),
        Some(BareItem::Token(token)) if token.as_str() == "false" => Ok(false),
        Some(_) => Err(()),
    };
    // A value that is no token is one that is not known, if it is one word.
    let word = |key: &str| match item(key)? {
        None => Ok(None),
        Some(BareItem::Token(token)) => Ok(Some(token.as_str())),
        Some(BareItem::String(_) | BareItem::DisplayString(_)) => Err(()),
        Some(_) => Ok(Some("unknown")),
    };
    let mut said = Cmcd {
        object: word("ot")?.map(|token| match token {
            "m" => ObjectType::Manifest,
            "a" => ObjectType::Audio,
            "v" => ObjectType::Video,
            "av" => ObjectType::Muxed,
            "i" => ObjectType::Init,
            "c" => ObjectType::Caption,
            "tt" => ObjectType::TimedText,
            "k" => ObjectType::Key,
            _ => ObjectType::Other,
        }),
        state: word("sta")?.map(|token| match token {
            "s" => PlayerState::Starting,
            "p" => PlayerState::Playing,
            "k" => PlayerState::Seeking,
            "r" => PlayerState::Rebuffering,
            "a" => PlayerState::Paused,
            "e" => PlayerState::Ended,
            "f" => PlayerState::Failed,
            "q" => PlayerState::Quit,
            "d" => PlayerState::Preloading,
            _ => PlayerState::Other,
        }),
        bitrate_kbps: bitrate(dictionary)?,
        startup: boolean("su")?,
        starved: boolean("bs")?,
        start_delay_ms: item("msd")?.map(number).transpose()?,
        ..Cmcd::default()
    };
    if said.start_delay_ms.is_some_and(|delay| delay > 3_600_000) {
        return Err(());
    }
    match item("sid")? {
        None => {}
        Some(BareItem::String(sid)) if (1..=64).contains(&sid.as_str().len()) => {
            let sid = sid.as_str().replace('\\', r"\\").replace('"', "\\\"");
            let line = format!("sid=\"{sid}\"");
            let alone = said.header(line.as_bytes(), &mut Room::default());
            alone.map_err(|_| ())?;
        }
        Some(_) => return Err(()),
    }
    Ok(said)
}

fn number(item: &BareItem) -> Result<u64, ()> {
    let whole = match item {
        BareItem::Integer(integer) => i64::from(*integer),
        BareItem::Decimal(decimal) => i64::from(decimal.as_integer_scaled_1000()).div_euclid(1000),
        _ => return Err(()),
    };
    u64::try_from(whole).map_err(|_| ())
}

fn bitrate(dictionary: &Dictionary) -> Result<Option<u32>, ()> {
    let kbps = |item: &BareItem| u32::try_from(number(item)?).map_err(|_| ());
    let list = match dictionary.get("br") {
        None => return Ok(None),
        Some(ListEntry::Item(Item { bare_item, .. })) => return kbps(bare_item).map(Some),
        Some(ListEntry::InnerList(list)) => list,
    };
    let (mut of_video, mut of_any) = (None, None);
    for Item { bare_item, params } in &list.items {
        let kbps = kbps(bare_item)?;
        let mut keys = params.keys().map(|key| key.as_str());
        match keys.find(|key| object_type(key)) {
            Some("v" | "av") => of_video = of_video.or(Some(kbps)),
            Some(_) => {}
            None => of_any = of_any.or(Some(kbps)),
        }
    }
    Ok(of_video.or(of_any))
}
