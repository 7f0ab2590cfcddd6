//! What a function must look like, and what its companion needs to know of it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, GenericArgument, ItemFn, Pat, PathArguments, ReturnType, Signature, Type};

/// A function as the companion sees it.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) parameters: Vec<Parameter>,
}

/// One parameter.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) kind: Type,
}

impl Function {
    /// Reads and checks a function; `what` it shall become is for the errors.
    pub(crate) fn parse(tokens: TokenStream, what: &str) -> syn::Result<Self> {
        let said = format!("{what} is a function");
        let item: ItemFn = syn::parse2(tokens).map_err(|error| Error::new(error.span(), said))?;
        check(&item.sig, what)?;
        let parameters = item.sig.inputs.iter().map(|input| parameter(input, what));
        let parameters = parameters.collect::<syn::Result<_>>()?;
        Ok(Self { item, parameters })
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// The parameters' names.
    pub(crate) fn names(&self) -> Vec<&Ident> {
        self.parameters.iter().map(|parameter| &parameter.name).collect()
    }

    /// The parameters' types.
    pub(crate) fn kinds(&self) -> Vec<&Type> {
        self.parameters.iter().map(|parameter| &parameter.kind).collect()
    }

    /// The parameters' names as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.parameters.iter().map(|parameter| text_of(&parameter.name)).collect()
    }

    /// Decodes the arguments into variables. An error about a type points at the type.
    pub(crate) fn takes(&self) -> TokenStream {
        let takes = self.parameters.iter().map(|Parameter { name, kind }| {
            let text = text_of(name);
            quote_spanned!(kind.span()=> let #name = __inputs.take::<#kind>(#text)?;)
        });
        takes.collect()
    }

    /// What it returns; `()` when it does not say.
    pub(crate) fn returned(&self) -> Type {
        match &self.item.sig.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, kind) => (**kind).clone(),
        }
    }

    /// The value within the `Result` that it returns, if it returns one.
    pub(crate) fn fallible(&self) -> Option<Type> {
        let ReturnType::Type(_, kind) = &self.item.sig.output else { return None };
        let Type::Path(path) = &**kind else { return None };
        let last = path.path.segments.last()?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        match arguments.args.first()? {
            GenericArgument::Type(value) if last.ident == "Result" => Some(value.clone()),
            _ => None,
        }
    }
}

/// The name without the mark of a raw identifier.
pub(crate) fn text_of(name: &Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}

fn check(signature: &Signature, what: &str) -> syn::Result<()> {
    let refuse = |span: Span, said: &str| Err(Error::new(span, format!("{what} {said}")));
    if !signature.generics.params.is_empty() {
        let said = "has no type parameters or lifetimes: a runner must know all its types";
        return refuse(signature.generics.span(), said);
    }
    if let syn::Safety::Unsafe(unsafety) = &signature.safety {
        return refuse(unsafety.span(), "is not unsafe: a runner calls it");
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic.span(), "has a fixed number of arguments");
    }
    Ok(())
}

fn parameter(input: &FnArg, what: &str) -> syn::Result<Parameter> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            return Err(Error::new(
                receiver.span(),
                format!("{what} is no method: it has no `self`"),
            ));
        }
    };
    let Pat::Ident(pattern) = &*typed.pat else {
        let said = format!("each argument of {what} has a name; take it apart inside");
        return Err(Error::new(typed.pat.span(), said));
    };
    match &*typed.ty {
        Type::Reference(reference) => {
            let said = format!(
                "{what} takes its arguments by value, such as `String` for `&str` or `Vec<T>` for `&[T]`"
            );
            Err(Error::new(reference.span(), said))
        }
        Type::ImplTrait(kind) => {
            let said =
                format!("{what} takes arguments of known types, since a runner decodes them");
            Err(Error::new(kind.span(), said))
        }
        kind => Ok(Parameter { name: pattern.ident.clone(), kind: kind.clone() }),
    }
}
