//! `#[lattice]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use crate::attributes::{Attributes, Output};
use crate::signature::{Function, text_of};

const WHAT: &str = "a lattice";

pub(crate) fn expand(attributes: TokenStream, function: TokenStream) -> TokenStream {
    let original = function.clone();
    match Function::parse(function, WHAT).and_then(|function| {
        if let Some(asyncness) = &function.item.sig.asyncness {
            let said = "a lattice is not async: it only records what is to run";
            return Err(syn::Error::new(asyncness.span(), said));
        }
        let attributes = Attributes::parse(attributes)?;
        if attributes.output == Output::Array {
            let said = "the result of a lattice travels as \"bincode\" or \"json\", or as its one node does";
            return Err(syn::Error::new(function.name().span(), said));
        }
        Ok(companion(&attributes, &function))
    }) {
        Ok(companion) => companion,
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#original #error)
        }
    }
}

fn companion(attributes: &Attributes, function: &Function) -> TokenStream {
    let Function { item, .. } = function;
    let (name, visibility) = (function.name(), &item.vis);
    let (names, kinds, texts) = (function.names(), function.kinds(), function.texts());
    let own = text_of(name);
    // Of a lattice, the name is what people see.
    let shown = attributes.name.as_ref().or(attributes.label.as_ref()).unwrap_or(&own);
    let builder = attributes.builder(shown);
    let returned = function.returned();
    let value = quote_spanned!(returned.span()=> <#returned as ::cov::graph::Nodes>::Value);
    let takes = function.takes();
    let (settings, count) = (Attributes::default().settings(), names.len());
    let doc = format!("Builds the lattice `{name}`.");
    quote! {
        #item

        #[doc = #doc]
        #[allow(non_camel_case_types, clippy::allow_attributes, clippy::allow_attributes_without_reason)]
        #visibility enum #name {}

        #[allow(clippy::allow_attributes, clippy::allow_attributes_without_reason, dead_code, unreachable_pub, unused_qualifications)]
        const _: () = {
            impl #name {
                /// What is registered of it.
                pub const ELECTRON: &'static ::cov::Electron =
                    &::cov::macro_support::Electron::new(
                        [
                            ::core::concat!(::core::module_path!(), "::", #own),
                            #shown,
                            ::core::file!(),
                        ],
                        ::core::line!(),
                        &[#(#texts),*],
                        ::cov::macro_support::NodeKind::Sublattice,
                        Self::__run,
                    )
                    .with(#settings);

                /// Builds its graph.
                ///
                /// # Errors
                /// What is wrong with the graph.
                pub fn build(#(#names: #kinds),*) -> ::core::result::Result<::cov::Lattice<#value>, ::cov::Error> {
                    let mut __builder = #builder #(.input(#texts, &#names))*;
                    let __nodes = __builder.scope(|| #name(#(#names),*));
                    __builder.finish(&__nodes)
                }

                /// Records it as a sublattice of the lattice that is being built.
                #[track_caller]
                pub fn node(#(#names: impl ::cov::graph::Argument<#kinds>),*) -> ::cov::Node<#value> {
                    ::cov::graph::Call::of(Self::ELECTRON)#(.arg::<#kinds>(#names))*.node()
                }

                fn __run(
                    __inputs: &mut ::cov::macro_support::Inputs<'_>,
                ) -> ::core::result::Result<
                    ::cov::macro_support::TransportableObject,
                    ::cov::macro_support::Failure,
                > {
                    __inputs.expect(#count)?;
                    #takes
                    let __builder = #builder #(.input(#texts, &#names))*;
                    let __built =
                        ::cov::macro_support::sublattice(__builder, || #name(#(#names),*))?;
                    __inputs.encode(__built)
                }
            }

            ::cov::macro_support::inventory::submit! {
                ::cov::macro_support::Registered(#name::ELECTRON)
            }
        };
    }
}
