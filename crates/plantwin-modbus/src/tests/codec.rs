//! Registers, messages and plans, with anything thrown at them.

use plantwin_model::{PointIx, SettingValue};
use proptest::prelude::*;

use super::support::{at, map, path};
use crate::{
    config::{Config, PointMap, SCHEMA},
    frame::Adu,
    native::{Ask, Flag, Progress, READ, Stamped},
    pdu::{self, PDU, Request, Table},
    plan::{GAP, plan},
    value::{Codec, Format},
};

fn format() -> impl Strategy<Value = Format> {
    proptest::sample::select(Format::NAMES.map(|(_, format)| format).to_vec())
}

fn table() -> impl Strategy<Value = Table> {
    proptest::sample::select(vec![Table::Holding, Table::Input, Table::Coil, Table::Discrete])
}

fn codec() -> impl Strategy<Value = Codec> {
    let scale = prop_oneof![Just(1.0), Just(0.01), Just(-2.0), 0.001..1000.0];
    (format(), any::<bool>(), scale, -1e3..1e3).prop_map(|(format, little, scale, offset)| {
        match format {
            Format::Bool => Codec { format, little: false, ..Codec::default() },
            _ => Codec { format, little: little && format.width() > 1, scale, offset },
        }
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_within_the_resolution_of_its_format(c in codec(), value in prop_oneof![-1e12..1e12, -100.0..100.0f64, Just(0.0), Just(1.0)]) {
        let Ok(registers) = c.encode(value) else { return Ok(()) };
        prop_assert_eq!(registers.len(), usize::from(c.format.width()));
        let back = c.decode(&registers).expect("as wide as its format");
        let raw = ((value - c.offset) / c.scale).abs();
        let step = match c.format {
            Format::F64 => 0.0,
            Format::F32 => raw * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE),
            _ => 0.5,
        };
        let rounding = (value.abs() + c.offset.abs()) * 1e-14;
        prop_assert!((back - value).abs() <= step * c.scale.abs() * (1.0 + 1e-9) + rounding, "{value} came back as {back}");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_wrapped(value in any::<f64>()) {
        for (name, format) in Format::NAMES {
            let codec = Codec { format, ..Codec::default() };
            match codec.encode(value) {
                Ok(registers) => {
                    let back = codec.decode(&registers).expect("as wide as its format");
                    let near = (back - value).abs() <= 0.5_f64.max(value.abs() * 1e-6);
                    prop_assert!(near || value.is_nan() && back.is_nan() || value == back, "{name}: {value} became {back}");
                }
                Err(reason) => prop_assert!(reason.contains(name), "{reason}"),
            }
        }
    }

    #[test]
    fn every_register_content_is_read_and_written_back_unchanged(c in codec(), words in proptest::collection::vec(any::<u16>(), 4)) {
        let plain = Codec { scale: 1.0, offset: 0.0, ..c };
        let registers = &words[..usize::from(c.format.width())];
        let value = plain.decode(registers).expect("as wide as its format");
        if value.is_nan() || c.format == Format::Bool {
            return Ok(());
        }
        let back = plain.encode(value).expect("it came from there");
        // Adding the offset turns -0 into 0.
        if value != 0.0 {
            prop_assert_eq!(&back[..], registers);
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        crate::handle_any_bytes(&bytes);
        let mut buffer = bytes;
        while let Ok(Some(adu)) = Adu::take(&mut buffer) {
            prop_assert!(!adu.pdu.is_empty() && adu.pdu.len() <= PDU);
        }
    }

    #[test]
    fn nearly_lawful_bytes_make_no_parser_panic(function in prop_oneof![1u8..=6, 15u8..=16, Just(43u8), Just(65u8), any::<u8>()], rest in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40), unit in prop_oneof![Just(1u8), Just(255u8)]) {
        let pdu: Vec<u8> = [&[function], &rest[..]].concat();
        crate::handle_any_bytes(&pdu);
        crate::handle_any_bytes(&Adu { transaction: 0, unit, pdu }.bytes());
    }

    #[test]
    fn requests_survive_the_wire_however_they_are_cut(table in table(), start in any::<u16>(), values in proptest::collection::vec(any::<u16>(), 1..100), cut in 0usize..200) {
        let start = start.min(u16::MAX - 100);
        let bits = table.bits();
        let values: Vec<u16> = values.into_iter().map(|v| if bits { v & 1 } else { v }).collect();
        let target = if bits { Table::Coil } else { Table::Holding };
        let single = values.len() == 1;
        let requests = [
            Request::Read { table, start, count: values.len() as u16 },
            Request::Write { table: target, start, values, single },
            Request::Identify { code: 1, object: 0 },
        ];
        for request in requests {
            let adu = Adu { transaction: start, unit: 7, pdu: request.bytes() };
            let bytes = adu.bytes();
            let cut = cut.min(bytes.len() - 1);
            let mut buffer = bytes[..cut].to_vec();
            prop_assert_eq!(Adu::take(&mut buffer), Ok(None));
            buffer.extend(&bytes[cut..]);
            buffer.push(1);
            let taken = Adu::take(&mut buffer).expect("modbus").expect("all of it");
            prop_assert_eq!(&buffer, &vec![1]);
            prop_assert_eq!(Request::parse(&taken.pdu), Ok(request));
        }
    }

    #[test]
    fn values_survive_an_answer(table in table(), values in proptest::collection::vec(any::<u16>(), 1..125)) {
        let values: Vec<u16> = values.into_iter().map(|v| if table.bits() { v & 1 } else { v }).collect();
        let answer = pdu::read_answer(table, &values);
        prop_assert_eq!(pdu::read_values(table, values.len() as u16, &answer), Some(values));
        prop_assert_eq!(pdu::read_values(table, 2000, &answer), None);
    }

    #[test]
    fn native_answers_survive_and_fit_into_a_message(time in any::<i64>(), sequence in any::<u64>(), cells in proptest::collection::vec((any::<u16>(), 0u8..4), 1..=usize::from(READ)), bytes in proptest::collection::vec(any::<u8>(), 0..crate::native::CHUNK)) {
        let flags = [Flag::Good, Flag::Uncertain, Flag::Bad, Flag::NoValue];
        let count = cells.len() as u16;
        let ask = Ask::Read { table: Table::Input, start: 3, count };
        prop_assert_eq!(Ask::parse(&ask.bytes()), Some(ask.clone()));
        let flaws = cells.iter().map(|c| flags[usize::from(c.1)]).collect();
        let registers = cells.iter().map(|c| c.0).collect();
        let stamped = Stamped { time, sequence, flaws, registers };
        let answer = ask.stamped(&stamped);
        prop_assert!(answer.len() <= PDU, "{} bytes", answer.len());
        prop_assert_eq!(ask.read_stamped(&answer), Some(stamped));

        let get = Ask::Get { id: count, offset: 7 };
        let progress = Progress::Answer { total: 4096, bytes };
        let answer = get.progress(&progress);
        prop_assert!(answer.len() <= PDU);
        prop_assert_eq!(get.read_progress(&answer), Some(progress));
    }

    #[test]
    fn a_plan_reads_every_point_once_in_lawful_requests(places in proptest::collection::vec((table(), 0u16..3000, format()), 0..60), gap in 0u16..20, limit in 4u16..200) {
        let points: Vec<PointMap> = places.into_iter().enumerate().map(|(ix, (table, register, format))| {
            let format = if table.bits() { Format::Bool } else { format };
            PointMap { point: PointIx(ix as u16), table, register, codec: Codec { format, ..Codec::default() } }
        }).collect();
        // Overlaps are refused before anything is planned.
        let mut kept: Vec<PointMap> = Vec::new();
        for map in points {
            let (from, to) = (u32::from(map.register), map.end());
            if kept.iter().all(|m| m.table != map.table || m.end() <= from || u32::from(m.register) >= to) {
                kept.push(map);
            }
        }
        let blocks = plan(&kept, gap, limit);
        let mut seen: Vec<usize> = blocks.iter().flat_map(|b| b.points.clone()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..kept.len()).collect::<Vec<_>>());
        for block in blocks {
            prop_assert!(block.count <= limit.min(block.table.read_limit()));
            let mut covered = 0;
            for &ix in &block.points {
                let map = &kept[ix];
                prop_assert_eq!(map.table, block.table);
                prop_assert!(map.register >= block.start);
                prop_assert!(map.end() <= u32::from(block.start) + u32::from(block.count));
                covered += map.codec.format.width();
            }
            prop_assert_eq!(block.gaps, covered < block.count);
        }
    }
}

#[test]
fn numbers_stand_in_registers_as_the_manuals_of_devices_say() {
    let codec = |format, little| Codec { format, little, ..Codec::default() };
    // 123.456 as IEEE 754 single is 42F6E979, 1e6 is 000F4240.
    assert_eq!(codec(Format::F32, false).encode(123.456).as_deref(), Ok(&[0x42F6, 0xE979][..]));
    assert_eq!(codec(Format::F32, true).encode(123.456).as_deref(), Ok(&[0xE979, 0x42F6][..]));
    assert_eq!(codec(Format::U32, false).encode(1e6).as_deref(), Ok(&[0x000F, 0x4240][..]));
    assert_eq!(codec(Format::I16, false).encode(-2.0).as_deref(), Ok(&[0xFFFE][..]));
    assert_eq!(codec(Format::I32, true).decode(&[0xFFFE, 0xFFFF]), Some(-2.0));
    let scaled = Codec { format: Format::U16, little: false, scale: 0.1, offset: -40.0 };
    assert_eq!(scaled.encode(21.5).as_deref(), Ok(&[615][..]));
    assert!((scaled.decode(&[615]).expect("one register") - 21.5).abs() < 1e-9);
    let hundredths = Codec { offset: 0.0, scale: 0.01, ..scaled };
    assert_eq!(hundredths.decode(&[70]), Some(0.7));
    assert_eq!(scaled.encode(-40.1), Err("fit -40.1 into u16".to_owned()));
    assert_eq!(codec(Format::U16, false).encode(65_536.0), Err("fit 65536 into u16".to_owned()));
    assert_eq!(codec(Format::I32, false).encode(f64::NAN), Err("fit NaN into i32".to_owned()));
    assert_eq!(codec(Format::Bool, false).encode(0.5), Err("fit 0.5 into bool".to_owned()));
    assert!(codec(Format::F32, false).encode(1e39).is_err());
}

#[test]
fn messages_are_those_of_the_specification() {
    // Examples of the MODBUS Application Protocol V1.1b3, §6.3, §6.5, §6.11 and §6.12.
    let read = Request::Read { table: Table::Holding, start: 0x6B, count: 3 };
    assert_eq!(read.bytes(), [3, 0, 0x6B, 0, 3]);
    let answer = [3, 6, 2, 0x2B, 0, 0, 0, 0x64];
    assert_eq!(pdu::read_values(Table::Holding, 3, &answer), Some(vec![555, 0, 100]));
    let coil = Request::Write { table: Table::Coil, start: 0xAC, values: vec![1], single: true };
    assert_eq!(coil.bytes(), [5, 0, 0xAC, 0xFF, 0]);
    let bits = vec![1, 0, 1, 1, 0, 0, 1, 1, 1, 0];
    let coils = Request::Write { table: Table::Coil, start: 0x13, values: bits, single: false };
    assert_eq!(coils.bytes(), [15, 0, 0x13, 0, 0x0A, 2, 0xCD, 1]);
    let values = vec![0x0A, 0x0102];
    let write = Request::Write { table: Table::Holding, start: 1, values, single: false };
    assert_eq!(write.bytes(), [16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2]);
    assert_eq!(pdu::write_answer(&write), [16, 0, 1, 0, 2]);
}

#[test]
fn neighbours_share_a_request_and_distant_points_do_not() {
    let points = plantwin_adapter::conformance::points();
    let near = at(at(path(&[]), 0, 100, "holding", "u16"), 1, 109, "holding", "u16");
    let far = at(near.clone(), 1, 110, "holding", "u16");
    for (spec, requests) in [(path(&[]), 1), (near, 1), (far, 2)] {
        let mut config = Config::new(&points, &spec).expect("a good path");
        if !spec.points.is_empty() {
            config.points.truncate(2);
        }
        assert_eq!(plan(&config.points, GAP, u16::MAX).len(), requests, "{spec:?}");
    }
}

#[test]
fn every_wrong_setting_is_named() {
    let problems = |path| {
        let all = (SCHEMA.validate)(&path);
        all.into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>()
    };
    let text = |t: &str| SettingValue::Text(t.to_owned());
    let mut addr = path(&[("unit", 248), ("timeout", 0)]);
    addr.settings.insert("addr".to_owned(), text("plc:0"));
    assert_eq!(
        problems(addr),
        ["addr: \"0\" is not a port", "unit: must be 0 to 247", "timeout: must be 1 to 60000",]
    );
    let cases = [
        (
            at(at(path(&[]), 0, 10, "holding", "f32"), 1, 11, "holding", "u16"),
            "register: 11 of the holding table is used by two points",
        ),
        (
            at(path(&[]), 0, 65_535, "input", "f32"),
            "register: 65535 is too high for a value that ends beyond 65535",
        ),
        (
            at(path(&[]), 0, 1, "coil", "u16"),
            "format: must be bool in the coil table, which holds bits",
        ),
        (
            at(path(&[]), 0, 1, "relay", "u16"),
            "table: is holding, input, coil or discrete, not \"relay\"",
        ),
        (
            at(path(&[]), 0, 1, "input", "bcd"),
            "format: is one of u16, i16, u32, i32, f32, f64, bool, not \"bcd\"",
        ),
        (
            map(path(&[]), 0, "scale", SettingValue::Number(0.0)),
            "scale: must be a finite number other than 0",
        ),
        (
            map(at(path(&[]), 0, 1, "coil", "bool"), 0, "offset", SettingValue::Number(1.0)),
            "scale: and offset have no meaning for a bool",
        ),
        (
            map(at(path(&[]), 0, 1, "input", "u16"), 0, "words", text("little")),
            "words: has no meaning for a value in one register",
        ),
        (map(path(&[]), 0, "words", text("middle")), "words: is big or little, not \"middle\""),
    ];
    for (path, problem) in cases {
        assert_eq!(problems(path), [problem]);
    }
    assert!(problems(at(path(&[]), 0, 65_535, "input", "u16")).is_empty());
}

#[test]
fn what_needs_the_points_to_be_seen_is_refused_when_they_are_known() {
    let points = plantwin_adapter::conformance::points();
    let refusal = |path| Config::new(&points, &path).expect_err("it is wrong").to_string();
    assert_eq!(
        refusal(at(path(&[]), 2, 0, "input", "u16")),
        "use the path settings: map.voltage: can be written, but the input table cannot"
    );
    // level takes 0 and 1 unless told otherwise.
    assert_eq!(
        refusal(at(path(&[]), 1, 1, "holding", "u16")),
        "use the path settings: map.flow: shares holding register 1 with level"
    );
    let config = Config::new(&points, &at(path(&[]), 1, 10, "holding", "f64")).expect("good");
    let places: Vec<u16> = config.points.iter().map(|p| p.register).collect();
    assert_eq!(places, [0, 10, 14, 16], "each after the one before it");
}

#[test]
fn one_unit_may_serve_several_twins_but_no_register_two() {
    let mut one = at(path(&[("unit", 3)]), 0, 10, "holding", "f32");
    one.settings.insert("addr".to_owned(), SettingValue::Text("plc".to_owned()));
    assert_eq!((SCHEMA.addresses)("a", &one), ["plc:502/unit 3/holding 10"]);
    one.points.clear();
    assert_eq!((SCHEMA.addresses)("a", &one), ["plc:502/unit 3"]);
    one.settings.remove("unit");
    assert_eq!((SCHEMA.addresses)("a", &one), ["plc:502/unit 1"]);
    assert_eq!((SCHEMA.addresses)("a", &path(&[])), ["/a"]);
}
