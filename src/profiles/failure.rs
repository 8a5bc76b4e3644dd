//! Classifies a failed avatar copy: is the image at fault, or the CDN or the avatar channel as a
//! whole? Only a failure of the image counts as one of the user's attempts.
//!
//! Pure: `avatar_mirror` decides what follows from it.

use crate::discord::cdn::NoImage;
use crate::discord::channels::avatar_channel::ChannelError;

/// What a failure says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// This image only.
    Image,
    /// The CDN, for every image.
    Host,
    /// The CDN; but the image, if it failed before and others were fetched since.
    HostUnlessOthersWork,
    /// The avatar channel, for every image.
    Channel,
    /// The avatar channel; but the image, if it failed before and others were posted since.
    ChannelUnlessOthersWork,
    /// None of these: the database failed, or Discord refused the token.
    Neither,
    /// The image; but the CDN, if several different images fail like this with no success between
    /// them.
    ImageUnlessSeveralFail,
    /// The CDN, if several images fail like this with no success between them. The image, if it
    /// failed before and others were fetched since. Otherwise unknown.
    HostIfSeveralFail,
}

/// Classifies a failed download from the CDN.
pub(super) fn of_fetch(error: &NoImage) -> About {
    match error {
        NoImage::NotThere | NoImage::TooLarge | NoImage::Status(415) => About::Image,
        NoImage::Status(429) => About::Host,
        NoImage::Unreachable(_) | NoImage::Status(500..) => About::HostUnlessOthersWork,
        // A proxy on the way may answer every request with a page of its own.
        NoImage::NotAnImage => About::ImageUnlessSeveralFail,
        // For example, Cloudflare answers 403 to an IP address that it blocks.
        NoImage::Status(_) => About::HostIfSeveralFail,
    }
}

/// Classifies a failed post to the avatar channel.
pub(super) fn of_post(error: &ChannelError) -> About {
    match error {
        ChannelError::Refused(_) => About::Image,
        ChannelError::Closed(_) => About::Channel,
        ChannelError::Away(_) => About::ChannelUnlessOthersWork,
        ChannelError::Passing(_) => About::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::RestError;
    use crate::discord::rest::error_codes::INVALID_BODY;

    #[test]
    fn what_a_failed_fetch_is_about() {
        for (error, about) in [
            (NoImage::NotThere, About::Image),
            (NoImage::TooLarge, About::Image),
            (NoImage::Status(415), About::Image),
            (NoImage::NotAnImage, About::ImageUnlessSeveralFail),
            (NoImage::Status(302), About::HostIfSeveralFail),
            (NoImage::Status(400), About::HostIfSeveralFail),
            (NoImage::Status(403), About::HostIfSeveralFail),
            (NoImage::Status(429), About::Host),
            (NoImage::Status(500), About::HostUnlessOthersWork),
            (NoImage::Status(503), About::HostUnlessOthersWork),
            (
                NoImage::Unreachable("cannot be reached"),
                About::HostUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("did not answer in time"),
                About::HostUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("broke off"),
                About::HostUnlessOthersWork,
            ),
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
            (
                ChannelError::Away(unreachable()),
                About::ChannelUnlessOthersWork,
            ),
            (
                ChannelError::Passing(RestError::Revoked.into()),
                About::Neither,
            ),
        ] {
            assert_eq!(of_post(&error), about, "{error}");
        }
    }
}
