//! What a tier is called in its metrics.

/// The name of `T` without its path and without generic arguments.
///
/// For people to read: two types may have the same short name, and the names
/// of types that have none of their own (tuples, closures) are not tidy.
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
