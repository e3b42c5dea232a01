//! `front.vlans`: meaning and messages.

use super::*;
use zerottl_core::model::{Vlan, Vlans};

fn vlans(written: &str) -> Vlans {
    let text = changed(r#"xdp = "auto""#, &format!("xdp = \"auto\"\n{written}"));
    parse("f", &text, &examples()).unwrap_or_else(|error| panic!("{}", error.plain())).model.front.vlans
}

#[test]
fn vlans_mean_what_they_say() {
    let of = |outer, inner| Vlan { outer, inner };
    assert_eq!(vlans(""), Vlans::Auto);
    assert_eq!(vlans("vlans = \"auto\""), Vlans::Auto);
    assert_eq!(vlans("vlans = []"), Vlans::These(vec![]));
    let these = vec![of(1, None), of(4094, None), of(100, None), of(100, Some(200))];
    assert_eq!(vlans("vlans = [1, 4094, \"100\", \"100.200\"]"), Vlans::These(these));
}

#[test]
fn what_is_no_vlan_is_reported() {
    const MEND: &str = r#"give a number from 1 to 4094, or "100.200" for VLAN 200 within VLAN 100"#;
    for text in ["0", "4095", "-1", "100.0", "100.4095", "a", "1.2.3", "", "0x10"] {
        let expect = format!("f:4:10: error: [front]: `{text}` is no VLAN ({MEND})");
        check(r#"xdp = "auto""#, &format!("vlans = [\"{text}\"]"), &[&expect]);
    }
    check(r#"xdp = "auto""#, "vlans = [4095]", &[&format!("f:4:10: error: [front]: `4095` is no VLAN ({MEND})")]);
    check(r#"xdp = "auto""#, "vlans = [7, \"7\"]", &["f:4:13: error: [front]: VLAN 7 is listed twice (take one out)"]);
    check(
        r#"xdp = "auto""#,
        "vlans = \"all\"",
        &[r#"f:4:9: error: [front]: `vlans` is `all` (give "auto", or a list such as [100, "100.200"]; [] is none)"#],
    );
    let many: Vec<_> = (1..=17).map(|inner| format!("\"9.{inner}\"")).collect();
    let found = lines(&changed(r#"xdp = "auto""#, &format!("vlans = [{}]", many.join(", "))));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("more than 16 VLANs within VLANs"), "{found:?}");
    let wrong = lines(&changed(r#"xdp = "auto""#, "vlans = 100"));
    assert!(wrong.len() == 1 && wrong[0].contains("`vlans` is of a wrong type"), "{wrong:?}");
}
