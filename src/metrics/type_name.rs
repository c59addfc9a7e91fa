//! The default name of a tier in its metrics.

/// Returns the name of `T` without its path and generic arguments: a manager's default
/// [`type_label`](super::BlockPoolMetrics::type_label).
///
/// The name is meant for people. Two types may share a short name, and for types that have
/// no name of their own, such as tuples, the result is not pretty.
///
/// ```
/// use kvbm_lockfree::metrics::short_type_name;
///
/// struct Gpu;
/// assert_eq!(short_type_name::<Gpu>(), "Gpu");
/// assert_eq!(short_type_name::<Vec<std::string::String>>(), "Vec");
/// ```
pub fn short_type_name<T: 'static>() -> String {
    let name = std::any::type_name::<T>();
    let path = name.split('<').next().unwrap_or(name);
    path.rsplit("::").next().unwrap_or(path).to_owned()
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    struct Tier;
    struct Tagged<T>(std::marker::PhantomData<T>);

    #[test]
    fn names_are_those_of_the_reference() {
        fn check<T: 'static>(expected: &str) {
            assert_eq!(short_type_name::<T>(), expected);
            assert_eq!(
                kvbm_logical::metrics::short_type_name::<T>(),
                expected,
                "the published crate"
            );
        }
        check::<Tier>("Tier");
        check::<Tagged<std::vec::Vec<Tier>>>("Tagged");
        check::<u32>("u32");
        check::<()>("()");
        check::<Option<(u8, Tier)>>("Option");
    }
}
