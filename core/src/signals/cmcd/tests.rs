use super::*;
use proptest::prelude::*;

fn header(line: &str) -> Result<Cmcd, Malformed> {
    let mut said = Cmcd::default();
    said.header(line.as_bytes(), &mut Room::default())?;
    Ok(said)
}

fn query(path: &str) -> Result<Cmcd, Malformed> {
    let mut said = Cmcd::default();
    let value = argument(path.as_bytes()).unwrap();
    said.argument(value, &mut Room::default())?;
    Ok(said)
}

fn session(name: &[u8]) -> Option<Session> {
    let mut session = Session::EMPTY;
    name.iter().for_each(|byte| session.push(*byte).unwrap());
    Some(session)
}

/// As `encodeURIComponent` of JavaScript does it.
fn escaped(payload: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
            char::from(*byte).to_string()
        }
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    payload.iter().map(escape).collect()
}

const SID: &str = "6e2fb550-c457-11e9-bb97-0800200c9a66";

#[test]
fn reads_the_examples_of_version_1() {
    let all = Cmcd {
        session: session(SID.as_bytes()),
        object: Some(ObjectType::Video),
        bitrate_kbps: Some(3200),
        starved: true,
        ..Cmcd::default()
    };
    let mut said = Cmcd::default();
    for line in [
        "mtp=25400",
        "br=3200,d=4004,ot=v,tb=6000",
        "bs,rtp=15000",
        "sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\"",
    ] {
        said.header(line.as_bytes(), &mut Room::default()).unwrap();
    }
    assert_eq!(said, all);
    assert_eq!(
        query(
            "/seg?CMCD=br%3D3200%2Cbs%2Cd%3D4004%2Cmtp%3D25400%2Cot%3Dv%2Crtp%3D15000%2C\
             sid%3D%226e2fb550-c457-11e9-bb97-0800200c9a66%22%2Ctb%3D6000"
        ),
        Ok(all)
    );
    let both = Cmcd {
        startup: true,
        starved: true,
        ..Cmcd::default()
    };
    assert_eq!(query("/a?CMCD=bs%2Csu"), Ok(both));
    // Keys of one's own may hold capital letters.
    let line = "com.example-myNumericKey=500,com.example-myStringKey=\"myStringValue\",d=4004";
    assert_eq!(header(line), Ok(Cmcd::default()));
    let path = "/a?CMCD=nor%3D%22..%252F300kbps%252Ftrack.m4v%22%2Cnrr%3D%2212323-48763%22%2Csid%3D%22s%22";
    assert_eq!(query(path).unwrap().session, session(b"s"));
}

#[test]
fn reads_a_request_of_version_2() {
    let line = "ab=(2500),bg,bl=(5000),br=(200),bs,bsd=(2000),cdn=\"cdn-provider\",\
        cid=\"content-id\",com.example-exists,com.example-hello=\"world\",\
        com.example-quote=\"\\\"Quote\\\"\",com.example-testing=1234,com.example-token=s,\
        cs=\"123456\",d=325,dfa=5,dl=10000,ec=(\"ERR001\" \"ERR002\"),lab=(200),lb=(100),\
        ltc=1500,msd=2500,mtp=(10000),nor=(\"../testing/3.m4v\";r=\"0-99\"),ot=m,pb=(1000),\
        pt=45000,rtp=8000,sf=d,sid=\"session-id\",sn=1,st=v,sta=p,su,tab=(3000),tb=(5000),\
        tbl=(8000),tpb=(4000),v=2";
    let said = Cmcd {
        session: session(b"session-id"),
        object: Some(ObjectType::Manifest),
        bitrate_kbps: Some(200),
        startup: true,
        starved: true,
        start_delay_ms: Some(2500),
        state: Some(PlayerState::Playing),
    };
    assert_eq!(header(line), Ok(said));
    let path = format!("/x.mpd?a=b&CMCD={}", escaped(line.as_bytes()));
    assert_eq!(query(&path), Ok(said));
    // Forms write a space as a plus.
    assert_eq!(query(&path.replace("%20", "+")), Ok(said));
}

#[test]
fn of_a_list_of_bitrates_that_of_the_video_counts() {
    for (value, kbps) in [
        ("3200", Some(3200)),
        ("3200.6", Some(3200)),
        ("(3200)", Some(3200)),
        ("(5000;v 128;a)", Some(5000)),
        ("(128;a 5000;v 6000;v)", Some(5000)),
        ("(128 5000;av)", Some(5000)),
        ("(5000 128);x=1", Some(5000)),
        ("( 5000;n=1;q=\"v\"  128 )", Some(5000)),
        ("(128;a)", None),
        ("(128;a=?1 64;a=?0;v=1)", Some(64)),
        ("(128;a 200)", Some(200)),
        ("()", None),
        ("0", Some(0)),
        ("4294967295", Some(u32::MAX)),
    ] {
        let said = header(&format!("br={value}")).unwrap();
        assert_eq!(said.bitrate_kbps, kbps, "{value}");
    }
    assert_eq!(header("br=1,br=(128;a)").unwrap().bitrate_kbps, None);
}

#[test]
fn tells_every_object_type_and_state_apart() {
    use ObjectType::*;
    for (token, object, of_video) in [
        ("m", Manifest, false),
        ("a", Audio, false),
        ("v", Video, true),
        ("av", Muxed, true),
        ("i", Init, false),
        ("c", Caption, false),
        ("tt", TimedText, false),
        ("k", Key, false),
        ("o", Other, false),
        ("hologram", Other, false),
    ] {
        let said = header(&format!("ot={token}")).unwrap();
        assert_eq!(said.object, Some(object), "{token}");
        assert_eq!(said.is_of_video(), of_video, "{token}");
    }
    assert!(Cmcd::default().is_of_video());
    for (token, state) in [
        ("s", PlayerState::Starting),
        ("p", PlayerState::Playing),
        ("k", PlayerState::Seeking),
        ("r", PlayerState::Rebuffering),
        ("a", PlayerState::Paused),
        ("e", PlayerState::Ended),
        ("f", PlayerState::Failed),
        ("q", PlayerState::Quit),
        ("d", PlayerState::Preloading),
        ("w", PlayerState::Other),
    ] {
        let said = header(&format!("sta={token}")).unwrap();
        assert_eq!(said.state, Some(state), "{token}");
    }
}

#[test]
fn a_boolean_is_said_by_its_key_alone_or_by_its_value() {
    for (line, starved) in [
        ("bs", true),
        ("bs=?1", true),
        ("bs=true", true),
        ("bs;x=1", true),
        ("bs=?0", false),
        ("bs=false", false),
        ("bs,bs=?0", false),
        ("bsd=1,BS,b", false),
    ] {
        assert_eq!(header(line).unwrap().starved, starved, "{line}");
    }
}

#[test]
fn a_session_is_any_string_of_at_most_64_bytes() {
    for (written, name) in [
        ("\"a\"", "a"),
        ("\"a,su;b=(c)\"", "a,su;b=(c)"),
        ("\"\\\"\\\\\"", "\"\\"),
    ] {
        let said = header(&format!("sid={written}")).unwrap();
        assert_eq!(said.session.unwrap().as_bytes(), name.as_bytes());
        assert!(!said.startup);
    }
    assert_eq!(
        query("/?CMCD=sid%3d%22%c3%a9%22").unwrap().session,
        session("é".as_bytes())
    );
    let longest = "s".repeat(64);
    assert_eq!(
        header(&format!("sid=\"{longest}\"")).unwrap().session,
        session(longest.as_bytes())
    );
    assert_eq!(header(&format!("sid=\"{longest}s\"")), Err(Malformed));
    assert_eq!(format!("{:?}", session(b"a\n").unwrap()), "Session(a\\n)");
}

#[test]
fn several_lines_add_up_and_a_malformed_one_adds_nothing() {
    let mut room = Room::default();
    let mut said = header("br=1,sid=\"a\",bs").unwrap();
    said.header(b"br=2,su", &mut room).unwrap();
    let both = Cmcd {
        session: session(b"a"),
        bitrate_kbps: Some(2),
        startup: true,
        starved: true,
        ..Cmcd::default()
    };
    assert_eq!(said, both);
    assert_eq!(
        said.header(b"br=3,sid=\"b\",ot=", &mut room),
        Err(Malformed)
    );
    assert_eq!(said, both);
}

#[test]
fn refuses_what_is_no_payload() {
    for line in [
        "br",
        "br=",
        "br=x",
        "br=-1",
        "br=1x",
        "br=\"1\"",
        "br=4294967296",
        "br=1.",
        "br=.5",
        "br=NaN",
        "br=(1",
        "br=(1 x)",
        "br=(1,2)",
        "br=1 2",
        "br=1000000000000000",
        "msd=?1",
        "msd=3600001",
        "msd",
        "ot",
        "ot=",
        "ot=\"v\"",
        "sta",
        "sid",
        "sid=",
        "sid=\"\"",
        "sid=a",
        "sid=\"a",
        "sid=\"a\\b\"",
        "sid=\"a\\",
        "sid=\"a\nb\"",
        "bs=",
        "bs=?",
        "bs=?2",
        "bs=1",
        "su=maybe",
        "su=truest",
        "su,",
        ",su",
        "su,,bs",
        "su bs",
        "su=?1x",
        "=1",
        "1=1",
        "\"su\"",
        "x=",
        "x=a\"b\"",
        "x=(a",
        "x=(a))",
        "x=%",
        "x;",
        "x;=1",
        "x;y=",
        "x;y=(a)",
        "su\0",
        "s\u{fc}",
    ] {
        assert_eq!(header(line), Err(Malformed), "{line}");
        let path = format!("/?CMCD={}", escaped(line.as_bytes()));
        assert_eq!(query(&path), Err(Malformed), "{path}");
    }
    for path in [
        "/?CMCD=su%",
        "/?CMCD=su%2",
        "/?CMCD=%zzsu",
        "/?CMCD=su%00",
        "/?CMCD=su%2Cbs%",
        "/?CMCD=sid%3D%22%0g%22",
        "/?CMCD=sid%3D%22a%+1%22",
    ] {
        assert_eq!(query(path), Err(Malformed), "{path}");
    }
    // Only the argument is escaped.
    assert_eq!(header("br%3D1"), Err(Malformed));
    assert_eq!(
        header("x=a+b,y=%\"f%c3%bc\\\",z=:+/=:,t=@1"),
        Ok(Cmcd::default())
    );
}

#[test]
fn what_is_longest_is_still_read() {
    assert_eq!(
        header("msd=3600000").unwrap().start_delay_ms,
        Some(3_600_000)
    );
    assert_eq!(header("msd=0.999999").unwrap().start_delay_ms, Some(0));
    assert_eq!(header(""), Ok(Cmcd::default()));
    assert_eq!(header("su \t,\t bs ").map(|said| said.starved), Ok(true));
}

#[test]
fn finds_the_argument_in_the_query_and_nowhere_else() {
    let find = |path: &'static str| argument(path.as_bytes()).map(|v| str::from_utf8(v).unwrap());
    for (path, value) in [
        ("/a?CMCD=su", Some("su")),
        ("/a?b=c&CMCD=su&d=e", Some("su")),
        ("/a?b=c&&CMCD=su#d", Some("su")),
        ("/a?CMCD=", Some("")),
        ("/a?CMCD=bs&CMCD=su", Some("bs")),
        ("/a?b=?&CMCD=su?x=1", Some("su?x=1")),
        ("/a?xCMCD=bs&CMCD=su", Some("su")),
        ("/a", None),
        ("/a?", None),
        ("/a?b=c&", None),
        ("/CMCD=su", None),
        ("/a&CMCD=su?b", None),
        ("/a?cmcd=su", None),
        ("/a?CMCD", None),
        ("/a?b#c&CMCD=su", None),
        ("/a?b=CMCD=su", None),
        ("", None),
    ] {
        assert_eq!(find(path), value, "{path}");
    }
}

#[test]
fn looks_for_the_argument_so_far_and_no_farther() {
    let path = |before: usize| format!("/?{}&CMCD=su", "a".repeat(before));
    let last = SEARCHED - 3;
    assert_eq!(argument(path(last).as_bytes()), Some(&b"su"[..]));
    assert_eq!(argument(path(last + 1).as_bytes()), None);
    assert_eq!(argument(path(last + 60_000).as_bytes()), None);
    let long = format!("/?CMCD={}", "a".repeat(100_000));
    let value = argument(long.as_bytes()).unwrap();
    assert_eq!(value.len(), LONGEST_ARGUMENT);
    assert_eq!(
        Cmcd::default().argument(value, &mut Room::default()),
        Err(Malformed)
    );
}

#[test]
fn a_request_has_room_for_so_many_keys_and_bytes() {
    let keys = |keys| vec!["a"; keys].join(",");
    assert_eq!(header(&keys(64)), Ok(Cmcd::default()));
    for line in [
        keys(65),
        format!("a{}", ";b".repeat(64)),
        format!("br=({})", "1 ".repeat(64)),
        format!("x=({})", "a ".repeat(64)),
        format!("x=\"{}\"", "a".repeat(1024)),
    ] {
        assert_eq!(header(&line), Err(Malformed), "{line}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line: Vec<u8>) {
        for escaped in [false, true] {
            let mut said = Cmcd::default();
            let read = payload::read(&mut said, &line, escaped, &mut Room::default());
            prop_assert!(read.is_ok() || said == Cmcd::default());
        }
        if let Some(value) = argument(&line) {
            prop_assert!(value.len() <= LONGEST_ARGUMENT && !value.contains(&b'&'));
        }
    }

    #[test]
    fn pieces_of_members_are_read_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "br=", "(", ")", "1", ";v", "sid=", "\"", "\\", ",", "su", "bs", "=?1", " ", "%2", "C", "&",
            ]),
            0..100,
        ),
    ) {
        let line = pieces.concat();
        let mut said = Cmcd::default();
        let _ = said.header(line.as_bytes(), &mut Room::default());
        let _ = said.argument(line.as_bytes(), &mut Room::default());
        if let Some(session) = said.session {
            prop_assert!(!session.as_bytes().is_empty());
        }
    }

    #[test]
    fn what_a_player_writes_is_read_from_headers_and_argument(
        sid in prop::option::of("[ -~]{1,64}"),
        kbps in prop::option::of(any::<u32>()),
        delay in prop::option::of(0..=LONGEST_DELAY_MS),
        (startup, starved, v2) in any::<(bool, bool, bool)>(),
    ) {
        let mut members = Vec::new();
        if let Some(kbps) = kbps {
            members.push(if v2 { format!("br=(64;a {kbps};v)") } else { format!("br={kbps}") });
        }
        if starved { members.push("bs".to_owned()); }
        if let Some(delay) = delay { members.push(format!("msd={delay}")); }
        if let Some(sid) = &sid {
            let sid = sid.replace('\\', "\\\\").replace('"', "\\\"");
            members.push(format!("sid=\"{sid}\""));
        }
        if startup { members.push("su".to_owned()); }
        let written = Cmcd {
            session: sid.and_then(|sid| session(sid.as_bytes())),
            bitrate_kbps: kbps,
            start_delay_ms: delay,
            startup,
            starved,
            ..Cmcd::default()
        };
        let line = members.join(",");
        prop_assert_eq!(header(&line), Ok(written));
        prop_assert_eq!(query(&format!("/s?CMCD={}", escaped(line.as_bytes()))), Ok(written));
    }
}
