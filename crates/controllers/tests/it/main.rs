//! The controllers in front of a running API: Freehold's own in this process, and, where it is
//! installed, upstream's kube-apiserver, so that each test proves itself on the original first.

mod freehold;
mod garbage;
mod idle;
mod keeping;
mod namespaces;
mod trouble;
mod upstream;
mod world;

/// Runs each test on both APIs, as `<module>::on_freehold::<test>` and `…::on_upstream::<test>`.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_freehold {
            $(#[test] fn $test() { crate::world::run(crate::freehold::world(), super::$test) })*
        }
        mod on_upstream {
            $(#[test] fn $test() {
                match crate::upstream::world() {
                    Some(world) => crate::world::run(world, super::$test),
                    None => println!("skipped: run `cargo xtask upstream`"),
                }
            })*
        }
    };
}
pub(crate) use on_both;
