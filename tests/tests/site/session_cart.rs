//! The sessions' lab, in a real browser: log in, fill a cart, kill the worker, go on; kill a session server, go on.

use tests::{cart_lab::CartLab, director::PATIENCE, lab::can_load, process::eventually, scratch::root};

/// S1-1A, S1-11, S1-18: a browser's cart outlives its worker and a session server; a logout is final.
#[test]
fn a_cart_outlives_its_worker_and_a_session_server() {
    if !can_load("a shop in a browser") {
        return;
    }
    let mut lab = CartLab::start().unwrap();
    let mut browser = lab.browser().unwrap();
    CartLab::shop(&mut browser).unwrap();
    let first = lab.kill_host().unwrap();
    let cart = CartLab::add(&mut browser, "cheese").unwrap();
    assert!(["apples", "bread", "cheese"].iter().all(|item| cart.contains(item)), "{cart}");
    assert_ne!(lab.host(), Some(first));
    lab.servers[0].kill();
    let cart = CartLab::add(&mut browser, "figs").unwrap();
    assert!(["apples", "bread", "cheese", "figs"].iter().all(|item| cart.contains(item)), "{cart}");
    let picture = root().join("target/session-cart.png");
    browser.picture(&picture).unwrap();
    println!("the cart, as the browser shows it: {}", picture.display());
    // The worker that has it now dies, too.
    lab.wait_until_ready().unwrap();
    assert!(eventually(PATIENCE, || lab.host().is_some()));
    lab.kill_host().unwrap();
    let cart = CartLab::add(&mut browser, "dates").unwrap();
    assert_eq!(cart.lines().count(), 5, "{cart}");
    browser.value("document.querySelector('form[action=\"/logout\"]').submit()").unwrap();
    browser.wait_for("#gone", |text| text.contains("logged out")).unwrap();
    lab.stop().unwrap();
}
