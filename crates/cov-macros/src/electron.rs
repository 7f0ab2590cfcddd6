//! `#[electron]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use crate::attributes::Attributes;
use crate::signature::{Function, text_of};

const WHAT: &str = "an electron";

pub(crate) fn expand(attributes: TokenStream, function: TokenStream) -> TokenStream {
    let original = function.clone();
    match Function::parse(function, WHAT).and_then(|function| {
        let attributes = Attributes::parse(attributes)?;
        Ok(companion(&attributes, &function))
    }) {
        Ok(companion) => companion,
        Err(error) => {
            // The function stays, so that its uses are no errors too.
            let error = error.to_compile_error();
            quote!(#original #error)
        }
    }
}

fn companion(attributes: &Attributes, function: &Function) -> TokenStream {
    let Function { item, .. } = function;
    let (name, visibility) = (function.name(), &item.vis);
    let (names, kinds) = (function.names(), function.kinds());
    let value = value_type(function);
    let description = description(attributes, function);
    let run = run(function);
    let fan = fan(attributes, function, &value);
    let registered_each = (!names.is_empty()).then(|| {
        quote! {
            ::cov::macro_support::inventory::submit! {
                ::cov::macro_support::Registered(#name::__EACH)
            }
        }
    });
    let doc = format!("Records calls of the electron `{name}` in the graph that is being built.");
    quote! {
        #item

        #[doc = #doc]
        #[allow(non_camel_case_types, clippy::allow_attributes, clippy::allow_attributes_without_reason)]
        #visibility enum #name {}

        #[allow(clippy::allow_attributes, clippy::allow_attributes_without_reason, dead_code, unreachable_pub, unused_qualifications)]
        const _: () = {
            impl #name {
                /// What is registered of it.
                pub const ELECTRON: &'static ::cov::Electron = &#description;

                /// Records one call.
                #[track_caller]
                pub fn node(#(#names: impl ::cov::graph::Argument<#kinds>),*) -> ::cov::Node<#value> {
                    ::cov::graph::Call::of(Self::ELECTRON)#(.arg::<#kinds>(#names))*.node()
                }

                #run
                #fan
            }

            ::cov::macro_support::inventory::submit! {
                ::cov::macro_support::Registered(#name::ELECTRON)
            }
            #registered_each
        };
    }
}

/// What callers get: the value within a `Result`, and what a sublattice returns.
fn value_type(function: &Function) -> TokenStream {
    let kind = function.fallible().unwrap_or_else(|| function.returned());
    // An error about the type points at the type.
    quote_spanned!(kind.span()=> <#kind as ::cov::Returned>::Value)
}

fn description(attributes: &Attributes, function: &Function) -> TokenStream {
    let own = text_of(function.name());
    let name = match &attributes.name {
        Some(name) => quote!(#name),
        None => quote!(::core::concat!(::core::module_path!(), "::", #own)),
    };
    let label = attributes.label.as_ref().unwrap_or(&own);
    let (texts, settings) = (function.texts(), attributes.settings());
    let returned = function.fallible().unwrap_or_else(|| function.returned());
    let kind = quote_spanned!(returned.span()=> <#returned as ::cov::Returned>::KIND);
    // Where the function stands, and not its attribute: a debugger stops there.
    let line = quote_spanned!(function.name().span()=> ::core::line!());
    quote! {
        ::cov::macro_support::Electron::new(
            [#name, #label, ::core::file!()],
            #line,
            &[#(#texts),*],
            #kind,
            Self::__run,
        )
        .with(#settings)
    }
}

/// Decodes the arguments into variables that no parameter can be named like, and calls the function.
fn run(function: &Function) -> TokenStream {
    let name = function.name();
    let names = function.names();
    let count = names.len();
    let call = quote!(#name(#(#names),*));
    let call = match function.item.sig.asyncness {
        Some(_) => quote!(::cov::macro_support::block_on(#call)?),
        None => call,
    };
    let returned = match function.fallible() {
        Some(_) => quote! {
            match #call {
                ::core::result::Result::Ok(returned) => returned,
                ::core::result::Result::Err(error) => {
                    #[allow(unused_imports, reason = "the type of the error decides which of them is used")]
                    use ::cov::macro_support::{Shown as _, WithSources as _};
                    let failure = (&::cov::macro_support::Returning(&error)).describe();
                    return ::core::result::Result::Err(failure);
                }
            }
        },
        None => call,
    };
    let takes = function.takes();
    let kind = function.fallible().unwrap_or_else(|| function.returned());
    let encode = quote_spanned!(kind.span()=> __inputs.encode::<#kind>(__returned));
    quote! {
        fn __run(
            __inputs: &mut ::cov::macro_support::Inputs<'_>,
        ) -> ::core::result::Result<
            ::cov::macro_support::TransportableObject,
            ::cov::macro_support::Failure,
        > {
            __inputs.expect(#count)?;
            #takes
            #[allow(clippy::let_unit_value)]
            let __returned = #returned;
            #encode
        }
    }
}

/// `map` and `each`, for electrons with at least one argument.
fn fan(attributes: &Attributes, function: &Function, value: &TokenStream) -> TokenStream {
    let (names, kinds, texts) = (function.names(), function.kinds(), function.texts());
    let (Some((items, rest)), Some((item, others)), Some((items_text, rest_texts))) =
        (names.split_first(), kinds.split_first(), texts.split_first())
    else {
        return TokenStream::new();
    };
    let own = text_of(function.name());
    let name = match &attributes.name {
        Some(name) => quote!(::core::concat!(#name, "#each")),
        None => quote!(::core::concat!(::core::module_path!(), "::", #own, "#each")),
    };
    let label = format!("{} for each", attributes.label.as_ref().unwrap_or(&own));
    let count = names.len();
    quote! {
        /// Records a call for each item; the further arguments are the same for all.
        #[track_caller]
        pub fn map<__Items>(
            #items: __Items,
            #(#rest: impl ::cov::graph::Argument<#others>),*
        ) -> ::std::vec::Vec<::cov::Node<#value>>
        where
            __Items: ::core::iter::IntoIterator<Item: ::cov::graph::Argument<#item>>,
        {
            let __call = ::cov::graph::Call::of(Self::ELECTRON);
            #(let #rest = __call.lay::<#others>(#rest);)*
            ::core::iter::IntoIterator::into_iter(#items)
                .map(|__item| {
                    ::cov::graph::Call::of(Self::ELECTRON)
                        .arg::<#item>(__item)
                        #(.laid(#rest.clone()))*
                        .node()
                })
                .collect()
        }

        /// Records a sublattice that calls it for each item of a list, which may be the value of
        /// a node; the further arguments are the same for all.
        #[track_caller]
        pub fn each(
            #items: impl ::cov::graph::Argument<::std::vec::Vec<#item>>,
            #(#rest: impl ::cov::graph::Argument<#others>),*
        ) -> ::cov::Node<::std::vec::Vec<#value>> {
            ::cov::graph::Call::of(Self::__EACH)
                .arg::<::std::vec::Vec<#item>>(#items)
                #(.arg::<#others>(#rest))*
                .node()
        }

        #[doc(hidden)]
        pub const __EACH: &'static ::cov::Electron = &::cov::macro_support::Electron::new(
            [#name, #label, ::core::file!()],
            ::core::line!(),
            &[#items_text, #(#rest_texts),*],
            ::cov::macro_support::NodeKind::Sublattice,
            Self::__each,
        );

        fn __each(
            __inputs: &mut ::cov::macro_support::Inputs<'_>,
        ) -> ::core::result::Result<
            ::cov::macro_support::TransportableObject,
            ::cov::macro_support::Failure,
        > {
            __inputs.expect(#count)?;
            let #items: ::std::vec::Vec<#item> = __inputs.take(#items_text)?;
            #(let #rest: #others = __inputs.take(#rest_texts)?;)*
            let __built = ::cov::macro_support::sublattice(
                ::cov::graph::Builder::new(#label),
                || Self::map(#items, #(#rest),*),
            )?;
            __inputs.encode(__built)
        }
    }
}
