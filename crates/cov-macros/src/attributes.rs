//! What stands in the parentheses of an attribute.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser as _;
use syn::{LitInt, LitStr};

/// The settings of an electron or a lattice.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) name: Option<String>,
    pub(crate) label: Option<String>,
    executor: Option<String>,
    retries: Option<u32>,
    time_limit_ms: Option<u64>,
    memory_limit_mb: Option<u64>,
    pub(crate) output: Output,
}

/// How an output travels.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Output {
    #[default]
    Bincode,
    Json,
    Array,
}

impl Attributes {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Self> {
        let mut attributes = Self::default();
        let parser = syn::meta::parser(|meta| attributes.entry(&meta));
        parser.parse2(tokens)?;
        Ok(attributes)
    }

    fn entry(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match key.as_str() {
            "name" => self.name = Some(text(meta)?.value()),
            "label" => self.label = Some(text(meta)?.value()),
            "executor" => self.executor = Some(text(meta)?.value()),
            "retries" => self.retries = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?),
            "time_limit" => self.time_limit_ms = Some(time_limit(&text(meta)?)?),
            "memory_limit_mb" => {
                self.memory_limit_mb = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
            }
            "output" => self.output = output(&text(meta)?)?,
            _ => {
                let said = "expected `name`, `label`, `executor`, `retries`, `time_limit`, \
                            `memory_limit_mb` or `output`";
                return Err(meta.error(said));
            }
        }
        Ok(())
    }

    /// The arguments of `Electron::with`.
    pub(crate) fn settings(&self) -> TokenStream {
        let Self { executor, retries, time_limit_ms, memory_limit_mb, output, .. } = self;
        let output = encoding(*output);
        let (executor, retries) = (option(executor.as_ref()), option(retries.as_ref()));
        let time_limit_ms = option(time_limit_ms.as_ref());
        let memory_limit_mb = option(memory_limit_mb.as_ref());
        quote!(#executor, #retries, #time_limit_ms, #memory_limit_mb, #output)
    }

    /// A builder of a lattice with these settings.
    pub(crate) fn builder(&self, name: &str) -> TokenStream {
        let Self { executor, retries, time_limit_ms, memory_limit_mb, output, .. } = self;
        let (retries, memory_limit_mb) =
            (option(retries.as_ref()), option(memory_limit_mb.as_ref()));
        let executor = match executor {
            Some(name) => quote!(::core::option::Option::Some(#name.into())),
            None => quote!(::core::option::Option::None),
        };
        let time_limit = match time_limit_ms {
            Some(count) => {
                quote!(::core::option::Option::Some(::core::time::Duration::from_millis(#count)))
            }
            None => quote!(::core::option::Option::None),
        };
        let output = encoding(*output);
        quote! {
            ::cov::graph::Builder::new(#name).defaults(::cov::graph::Settings {
                executor: #executor,
                retries: #retries,
                time_limit: #time_limit,
                work_dir: ::core::option::Option::None,
                memory_limit_mb: #memory_limit_mb,
            }).output(#output)
        }
    }
}

fn option<T: quote::ToTokens>(value: Option<&T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    meta.value()?.parse()
}

fn output(text: &LitStr) -> syn::Result<Output> {
    match text.value().as_str() {
        "bincode" => Ok(Output::Bincode),
        "json" => Ok(Output::Json),
        "array" => Ok(Output::Array),
        _ => Err(syn::Error::new(text.span(), "expected \"bincode\", \"json\" or \"array\"")),
    }
}

fn encoding(output: Output) -> TokenStream {
    let variant = match output {
        Output::Bincode => quote!(Bincode),
        Output::Json => quote!(Json),
        Output::Array => quote!(Array),
    };
    quote!(::cov::core::transportable::Encoding::#variant)
}

/// Milliseconds of `1500ms`, `30s`, `5m` or `2h`.
fn time_limit(text: &LitStr) -> syn::Result<u64> {
    let value = text.value();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match value.strip_prefix(digits) {
        Some("ms") => Some(1),
        Some("s") => Some(1_000),
        Some("m") => Some(60_000),
        Some("h") => Some(3_600_000),
        _ => None,
    };
    let count: Option<u64> = digits.parse().ok();
    count
        .zip(unit)
        .and_then(|(count, unit)| count.checked_mul(unit))
        .filter(|milliseconds| *milliseconds > 0)
        .ok_or_else(|| {
            syn::Error::new(
                text.span(),
                "expected a time such as \"500ms\", \"30s\", \"5m\" or \"2h\"",
            )
        })
}
