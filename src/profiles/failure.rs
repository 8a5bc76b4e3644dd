//! Classifies a failed avatar copy: is the image at fault, or the CDN or the avatar channel as a
//! whole? Only a failure of the image counts as one of the user's attempts.
//!
//! Pure: `avatar_mirror` decides whether to retry or to pause.

use crate::discord::cdn::NoImage;
use crate::discord::channels::avatar_channel::ChannelError;

/// What to blame for a failed copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// This image only.
    Image,
    /// The CDN: every image fails.
    Cdn,
    /// Normally the CDN. If this image failed before and others were fetched since, the image.
    CdnUnlessOthersWork,
    /// The avatar channel: every image fails.
    Channel,
    /// Normally the avatar channel. If this image failed before and others were posted since, the
    /// image.
    ChannelUnlessOthersWork,
    /// None of these: the database failed, or Discord refused the token.
    Unrelated,
    /// Normally the image. If several different images fail like this with no success between them,
    /// the CDN.
    ImageUnlessSeveralFail,
    /// The CDN, if several images fail like this with no success between them. The image, if it
    /// failed before and others were fetched since. Otherwise unknown.
    CdnIfSeveralFail,
}

/// Classifies a failed download from the CDN.
pub(super) fn classify_fetch_error(error: &NoImage) -> FailureCause {
    match error {
        NoImage::NotThere | NoImage::TooLarge | NoImage::Status(415) => FailureCause::Image,
        NoImage::Status(429) => FailureCause::Cdn,
        NoImage::Unreachable(_) | NoImage::Status(500..) => FailureCause::CdnUnlessOthersWork,
        // A proxy on the way may answer every request with a page of its own.
        NoImage::NotAnImage => FailureCause::ImageUnlessSeveralFail,
        // For example, Cloudflare answers 403 to an IP address that it blocks.
        NoImage::Status(_) => FailureCause::CdnIfSeveralFail,
    }
}

/// Classifies a failed post to the avatar channel.
pub(super) fn classify_post_error(error: &ChannelError) -> FailureCause {
    match error {
        ChannelError::Refused(_) => FailureCause::Image,
        ChannelError::Closed(_) => FailureCause::Channel,
        ChannelError::Unavailable(_) => FailureCause::ChannelUnlessOthersWork,
        ChannelError::Unrelated(_) => FailureCause::Unrelated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::RestError;
    use crate::discord::rest::error_codes::INVALID_BODY;

    #[test]
    fn a_failed_fetch_is_classified() {
        for (error, cause) in [
            (NoImage::NotThere, FailureCause::Image),
            (NoImage::TooLarge, FailureCause::Image),
            (NoImage::Status(415), FailureCause::Image),
            (NoImage::NotAnImage, FailureCause::ImageUnlessSeveralFail),
            (NoImage::Status(302), FailureCause::CdnIfSeveralFail),
            (NoImage::Status(400), FailureCause::CdnIfSeveralFail),
            (NoImage::Status(403), FailureCause::CdnIfSeveralFail),
            (NoImage::Status(429), FailureCause::Cdn),
            (NoImage::Status(500), FailureCause::CdnUnlessOthersWork),
            (NoImage::Status(503), FailureCause::CdnUnlessOthersWork),
            (
                NoImage::Unreachable("cannot be reached"),
                FailureCause::CdnUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("did not answer in time"),
                FailureCause::CdnUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("broke off"),
                FailureCause::CdnUnlessOthersWork,
            ),
        ] {
            assert_eq!(classify_fetch_error(&error), cause, "{error}");
        }
    }

    #[test]
    fn a_failed_post_is_classified() {
        let unreachable = || RestError::Unreachable("no answer in time".to_owned());
        let refused = RestError::Refused {
            what: "posting an avatar",
            status: 400,
            code: INVALID_BODY,
            message: "Invalid Form Body".to_owned(),
        };
        for (error, cause) in [
            (ChannelError::Refused(refused), FailureCause::Image),
            (
                ChannelError::Closed("Missing Permissions".to_owned()),
                FailureCause::Channel,
            ),
            (
                ChannelError::Unavailable(unreachable()),
                FailureCause::ChannelUnlessOthersWork,
            ),
            (
                ChannelError::Unrelated(RestError::Revoked.into()),
                FailureCause::Unrelated,
            ),
        ] {
            assert_eq!(classify_post_error(&error), cause, "{error}");
        }
    }
}
