//! What a copy of an avatar that failed says: something about that very image, or about the CDN
//! or the avatar channel as a whole. Only the first counts as an attempt at the user.
//!
//! Pure: decides nothing about what follows.

use crate::discord::avatar_channel::ChannelError;
use crate::discord::cdn::NoImage;

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// That very image.
    Image,
    /// The CDN, for every image.
    Host,
    /// The CDN, unless this image failed before and others were fetched since.
    HostUnlessAlone,
    /// The avatar channel, for every image.
    Channel,
    /// The avatar channel, unless this image failed before and others were posted since.
    ChannelUnlessAlone,
    /// None of these: the database, or a token that Discord does not take.
    Neither,
    /// The image, unless several different ones fail like this with none that comes through:
    /// then it is the host.
    ImageUnlessSeveral,
    /// The host, if several images fail like this and none is fetched. The image, if it failed
    /// before and others were fetched since. Otherwise unknown.
    HostIfSeveral,
}

/// What a fetch that failed is about.
pub(super) fn of_fetch(error: &NoImage) -> About {
    match error {
        NoImage::NotThere | NoImage::TooLarge | NoImage::Status(415) => About::Image,
        NoImage::Status(429) => About::Host,
        NoImage::Unreachable(_) | NoImage::Status(500..) => About::HostUnlessAlone,
        // What stands in between may answer everything with a page of its own.
        NoImage::NotAnImage => About::ImageUnlessSeveral,
        // As Cloudflare refuses an address with 403.
        NoImage::Status(_) => About::HostIfSeveral,
    }
}

/// What a post that failed is about.
pub(super) fn of_post(error: &ChannelError) -> About {
    match error {
        ChannelError::Refused(_) => About::Image,
        ChannelError::Closed(_) => About::Channel,
        ChannelError::Away(_) => About::ChannelUnlessAlone,
        ChannelError::Passing(_) => About::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::RestError;
    use crate::discord::codes::INVALID_BODY;

    #[test]
    fn what_a_failed_fetch_is_about() {
        for (error, about) in [
            (NoImage::NotThere, About::Image),
            (NoImage::TooLarge, About::Image),
            (NoImage::Status(415), About::Image),
            (NoImage::NotAnImage, About::ImageUnlessSeveral),
            (NoImage::Status(302), About::HostIfSeveral),
            (NoImage::Status(400), About::HostIfSeveral),
            (NoImage::Status(403), About::HostIfSeveral),
            (NoImage::Status(429), About::Host),
            (NoImage::Status(500), About::HostUnlessAlone),
            (NoImage::Status(503), About::HostUnlessAlone),
            (
                NoImage::Unreachable("cannot be reached"),
                About::HostUnlessAlone,
            ),
            (
                NoImage::Unreachable("did not answer in time"),
                About::HostUnlessAlone,
            ),
            (NoImage::Unreachable("broke off"), About::HostUnlessAlone),
        ] {
            assert_eq!(of_fetch(&error), about, "{error}");
        }
    }

    #[test]
    fn what_a_failed_post_is_about() {
        let unreachable = || RestError::Unreachable("no answer in time".to_owned());
        let refused = RestError::Refused {
            what: "posting an avatar",
            status: 400,
            code: INVALID_BODY,
            message: "Invalid Form Body".to_owned(),
        };
        for (error, about) in [
            (ChannelError::Refused(refused), About::Image),
            (
                ChannelError::Closed("Missing Permissions".to_owned()),
                About::Channel,
            ),
            (ChannelError::Away(unreachable()), About::ChannelUnlessAlone),
            (
                ChannelError::Passing(RestError::Revoked.into()),
                About::Neither,
            ),
        ] {
            assert_eq!(of_post(&error), about, "{error}");
        }
    }
}
